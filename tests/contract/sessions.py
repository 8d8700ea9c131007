"""Sessions for the laws: how they begin, go on and are read back."""

from __future__ import annotations

from service.store.base import Answer, Applied, Birth, Commit, Head, Key, Lost, Opened, Record, Store, Tombstone

KEY = Key("ada", "story/1")
BORN = b"incarnation no 1"
REBORN = b"incarnation no 2"
BIRTH = Birth("ntm-copy", 3, window=64, ttl=100.0, request_hash=b"r1", labels={"for": "tests", "naïve": "é"})


async def born(store: Store, key: Key = KEY, incarnation: bytes = BORN, birth: Birth = BIRTH) -> Head:
    created = await store.create(key, birth, incarnation, b"state 0", "client")
    assert isinstance(created, Applied)
    return created.head


def step_after(head: Head, steps: int = 1, key: Key = KEY, release_through: int = 0, text: str = "") -> Commit:
    """The commit of the next steps of a session; its bytes name the last of them."""
    last = head.committed_step + steps
    return Commit(
        key=key,
        incarnation=head.incarnation,
        epoch=head.epoch,
        answer=Answer(head.committed_step + 1, steps, b"hash %d" % last, b"answer %d" % last + text.encode()),
        state=b"state %d" % last + text.encode(),
        fingerprint="cpu",
        client_id="client",
        release_through=release_through,
    )


async def stepped(store: Store, head: Head, *chunks: int, key: Key = KEY, release_through: int = 0) -> Head:
    """Commits messages of so many steps each."""
    for steps in chunks:
        (outcome,) = await store.commit([step_after(head, steps, key, release_through)])
        assert isinstance(outcome, Applied)
        head = outcome.head
    return head


async def opened(store: Store, key: Key = KEY, incarnation: bytes = BORN, client: str = "client") -> Opened:
    outcome = await store.open(key, incarnation, client)
    assert isinstance(outcome, Opened)
    return outcome


async def loaded(store: Store, key: Key = KEY) -> Record:
    record = await store.load(key)
    assert isinstance(record, Record)
    return record


async def lost(store: Store, commit: Commit) -> Head | Tombstone | None:
    (outcome,) = await store.commit([commit])
    assert isinstance(outcome, Lost)
    return outcome.found

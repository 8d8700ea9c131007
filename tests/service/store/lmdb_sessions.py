"""Sessions in an LMDB store for its tests, and ways to hurt them from below."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import lmdb

from service.store.base import Applied, Head, Key
from service.store.lmdb import LmdbStore

from .lmdb_writer import BIRTH, commit_after, key_of

KEYS = [key_of(number) for number in range(4)]


async def begun(store: LmdbStore, *keys: Key, steps: int = 2) -> list[Head]:
    """Sessions after some steps, each step with its answer."""
    heads = []
    for key in keys:
        created = await store.create(key, BIRTH, b"born", b"state 0", "client")
        assert isinstance(created, Applied)
        head = created.head
        for _ in range(steps):
            head = await stepped(store, key, head)
        heads.append(head)
    return heads


async def keeping(store: LmdbStore, key: Key, steps: int) -> Head:
    """A session after some steps, the state of each of which is kept."""
    (head,) = await begun(store, key, steps=0)
    for _ in range(steps):
        (outcome,) = await store.commit([replace(commit_after(key, head), keep=True)])
        assert isinstance(outcome, Applied)
        head = outcome.head
    return head


async def stepped(store: LmdbStore, key: Key, head: Head, state: bytes | None = None) -> Head:
    commit = commit_after(key, head)
    (outcome,) = await store.commit([commit if state is None else replace(commit, state=state)])
    assert isinstance(outcome, Applied)
    return outcome.head


@contextmanager
def table(store: LmdbStore, name: bytes) -> Iterator[lmdb.Transaction]:
    """The raw table, while the store waits."""
    environment = store._environment
    database = environment.open_db(name, create=False)
    with environment.begin(write=True, db=database) as txn:
        yield txn


def rows(store: LmdbStore) -> dict[str, int]:
    """How many rows each table has."""
    found = {}
    for name in (b"heads", b"tombstones", b"states", b"answers", b"kept", b"ends"):
        with table(store, name) as txn:
            found[name.decode()] = len(list(txn.cursor()))
    return found


def damage(store: LmdbStore, name: bytes, change: Callable[[bytes], bytes | None], nth: int = 0) -> None:
    """Changes the nth value of a table, or drops it."""
    with table(store, name) as txn:
        key, value = list(txn.cursor())[nth]
        changed = change(value)
        txn.delete(key) if changed is None else txn.put(key, changed)


def flipped(place: int) -> Callable[[bytes], bytes]:
    def flip(value: bytes) -> bytes:
        changed = bytearray(value)
        changed[place] ^= 1
        return bytes(changed)

    return flip

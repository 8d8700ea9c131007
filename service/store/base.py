"""The law of a store: what it keeps of a session and what each operation promises.

Every implementation obeys it, and `tests/contract` is its judge. A store decides nothing about steps, windows or
clients: it compares, writes and tells what it found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from ..errors import StateCorrupt

TOMBSTONE_TTL = 7 * 24 * 3600.0  # seconds for which an owner is told that a session expired, rather than never was


class Durability(IntEnum):
    """What a committed step survives; a higher value is stronger."""

    MEMORY = 1  # nothing but the life of the server process
    PROCESS = 2  # the death of the server process
    DISK = 3  # the loss of power


@dataclass(frozen=True, slots=True)
class Key:
    """Names a session within its owner's namespace."""

    owner: str
    session_id: str


@dataclass(frozen=True, slots=True)
class Birth:
    """What is fixed when a session is created."""

    model_id: str
    model_version: int
    window: int  # steps
    ttl: float  # seconds
    request_hash: bytes  # of the creating request's content; tells a repeat from another request
    labels: Mapping[str, str] = field(default_factory=dict)
    origin_step: int = 0  # the step that the session begins at: above 0 for a fork
    keep_every: int = 0  # steps between states that are kept for going back to; 0 keeps none
    keep_most: int = 0  # how many of them
    constants: bytes = b""  # what the session was given once, for every step
    began: bool = False  # whether it began with a state of its own, rather than with its model's

    @property
    def keeps_origin(self) -> bool:
        """Whether the state that it begins with is kept: no model could give it again."""
        return self.origin_step > 0 or self.began


# A head, an answer, a commit and its outcome are made for every step. They are not frozen because that alone would take
# two thirds of their making; nobody changes one nevertheless.


@dataclass(slots=True)
class Head:
    """The small, moving part of a session's record."""

    birth: Birth
    incarnation: bytes  # 16 random bytes
    epoch: int  # number of opens
    committed_step: int
    oldest_kept_answer: int  # committed_step + 1 if none is kept
    last_writer: str  # client_id of the last open or commit; may be empty
    fingerprint: str  # compute fingerprint of the last commit; empty before the first
    create_time: float  # seconds since the epoch, by the store's clock
    last_use_time: float  # of the last creation, open, commit or renewal
    state_bytes: int
    kept_steps: tuple[int, ...] = ()  # whose states are kept besides the latest, ascending; a fork's origin is one

    @property
    def expire_time(self) -> float:
        return self.last_use_time + self.birth.ttl


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is left of a session for a while after its end."""

    incarnation: bytes
    request_hash: bytes  # of the session's birth, so that a late repeat of its creation is known
    expired: bool  # by age, rather than deleted
    time: float  # of its end


@dataclass(frozen=True, slots=True)
class Record:
    """A head with the state that belongs to exactly that head."""

    head: Head
    state: bytes


@dataclass(slots=True)
class Answer:
    """The stored answer of one message: one step, or a chunk of consecutive ones."""

    first_step: int
    step_count: int  # steps it covers, at least 1
    input_hash: bytes
    payload: bytes

    @property
    def last_step(self) -> int:
        return self.first_step + self.step_count - 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a session is as of one step, apart from its place: what goes from one store to another."""

    birth: Birth
    committed_step: int
    fingerprint: str  # of the last commit; empty before the first
    state: bytes
    answers: tuple[Answer, ...] = ()  # in order and without a gap, the last one that of the committed step
    kept_states: Mapping[int, bytes] = field(default_factory=dict)  # by step; an origin above 0 is one


@dataclass(slots=True)
class Commit:
    """Asks to append one message's steps to a session."""

    key: Key
    incarnation: bytes
    epoch: int
    answer: Answer  # its first_step must follow the head's committed step
    state: bytes  # after the last of the steps
    fingerprint: str
    client_id: str
    release_through: int  # earlier answers whose last step is at most this are dropped in the same transaction
    keep: bool = False  # whether the state is kept, under the answer's last step, besides being the latest
    drop_kept: tuple[int, ...] = ()  # kept steps that go; others are passed over


@dataclass(slots=True)
class Applied:
    """The operation was carried out, by this call."""

    head: Head


@dataclass(frozen=True, slots=True)
class Deleted:
    """The session was ended by this call; `head` is its last, or None if that could not be read."""

    head: Head | None


@dataclass(frozen=True, slots=True)
class Opened:
    """The epoch was raised; `before` and `after` differ in epoch, last writer and last use alone."""

    before: Head
    after: Head


@dataclass(frozen=True, slots=True)
class Lost:
    """The comparison failed and nothing was changed; `found` is what lies there."""

    found: Head | Tombstone | None


@dataclass(frozen=True, slots=True)
class Damaged:
    """The record of one session in a group cannot be read; nothing of that session was changed."""

    error: StateCorrupt


class Store(Protocol):
    """Keeps sessions.

    All methods are called from one event loop and never block it. A method that cannot tell whether it was carried out
    raises `StoreUnavailable`; one that was certainly not carried out for want of space raises `StoreFull`; a damaged
    record raises `StateCorrupt`. Each operation is atomic and is sent once: a store never retries by itself. A caller
    that is cancelled while it waits learns nothing of the outcome; the operation goes on.

    Owners are at most 64 characters without NUL (none where nobody is asked), session ids 1 to 128.
    A session lives until `expire` or `delete` ends it, even if its `expire_time` has passed.
    """

    @property
    def durability(self) -> Durability:
        """The level that every commit of this store reaches."""

    @property
    def location(self) -> str:
        """Where the sessions lie, for people, without secrets."""

    async def create(self, key: Key, birth: Birth, incarnation: bytes, state: bytes, client_id: str) -> Applied | Lost:
        """Writes a new session at its birth's origin step, epoch 0, with no answers: the first will be the next step's.

        The state of an origin above 0 is kept under that step; that of step 0 can be had from the model.

        Lost if anything lies under the key, a session or a tombstone, with that as `found`: a create never replaces.
        """

    async def replace(self, key: Key, birth: Birth, incarnation: bytes, state: bytes, client_id: str) -> Applied | Lost:
        """As `create`, but a tombstone gives way to the new session. A live session does not."""

    async def restore(self, key: Key, snapshot: Snapshot, incarnation: bytes, over: Tombstone | None) -> Applied | Lost:
        """Writes a session as the snapshot says, whole or not at all, at epoch 0 and without a last writer.

        It was created and used now. Lost, with what is there as `found`, unless exactly `over` lies under the key:
        nothing, or that tombstone, which then gives way.
        """

    async def head(self, key: Key) -> Head | Tombstone | None:
        """Reads what lies under the key."""

    async def load(self, key: Key) -> Record | Tombstone | None:
        """Reads a session's head and state as of one moment."""

    async def open(self, key: Key, incarnation: bytes, client_id: str) -> Opened | Lost:
        """Raises the epoch by one if the incarnation is the head's, whatever its step, and sets last writer and use."""

    async def commit(self, commits: Sequence[Commit]) -> list[Applied | Lost | Damaged]:
        """Appends, for each session by itself, if incarnation, epoch and step - 1 equal the head's.

        One outcome a commit, in order; at most one commit a session. A lost or damaged one leaves its session as it was
        and never rolls back a neighbour, nor does it fail one. State, answer, released answers and head change together
        or not at all, and so do the kept states.
        """

    async def answers(self, key: Key, incarnation: bytes, from_step: int) -> list[Answer]:
        """Reads the kept answers whose last step is at least `from_step`, in order; none if the incarnation differs.

        A chunk is kept and read whole.
        """

    async def answer(self, key: Key, incarnation: bytes, step: int) -> Answer | None:
        """Reads the kept answer that covers the step; None if none does, or if the incarnation differs."""

    async def kept_state(self, key: Key, incarnation: bytes, step: int) -> bytes | None:
        """Reads the state that is kept under the step; None if there is none, or if the incarnation differs.

        The latest state is not among them, unless its commit said `keep`.
        """

    async def renew(self, key: Key, incarnation: bytes, epoch: int) -> bool:
        """Sets the last use, and nothing else, to now if incarnation and epoch are the head's; tells if they were."""

    async def delete(self, key: Key, incarnation: bytes | None) -> Deleted | Lost:
        """Replaces a session, its states and its answers by a tombstone; None stands for any incarnation.

        Lost if no session lies there, or another. Works in a full store.

        With None it also ends a session whose head is damaged, so that its id is free again, and puts a new tombstone
        in the place of a damaged one. As nothing is known of what was there, the tombstone then has an incarnation of
        16 zero bytes and an empty request hash, and `Deleted` no head. An incarnation cannot be compared with a damaged
        head: that raises StateCorrupt.
        """

    async def expire(self, limit: int) -> int:
        """Turns at most `limit` sessions whose `expire_time` has passed into tombstones, as `delete` does.

        Age is judged by the store's clock inside the same atomic operation, one for each session; that of a damaged
        head is not known, so it stays. Also drops tombstones older than `TOMBSTONE_TTL`. Returns how many sessions
        expired; fewer than `limit` means that none is left.
        """

    async def owners(self, after: str | None, limit: int) -> list[str]:
        """Reads at most `limit` owners of live sessions that come after `after`, in UTF-8 order; all come after None.

        Fewer than `limit` means that no more follow.
        """

    async def list(self, owner: str, after: str, limit: int) -> list[tuple[str, Head]]:
        """Reads at most `limit` live sessions of the owner whose ids come after `after`, in UTF-8 order of ids.

        Fewer than `limit` means that no more follow. Sessions whose heads are damaged are left out, and the log says
        so; whoever names one is told.
        """

    async def close(self) -> None:
        """Waits for what was asked before and releases the store. No call but `close` may follow."""

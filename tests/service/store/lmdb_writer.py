"""A process that commits without end, to be killed: python -m tests.service.store.lmdb_writer FOLDER DURABILITY.

Prints "session step" after the store has reported the commit.
"""

from __future__ import annotations

import asyncio
import sys

from service.store.base import Answer, Applied, Birth, Commit, Durability, Head, Key
from service.store.lmdb import LmdbStore

BIRTH = Birth("ntm-copy", 1, window=4, ttl=100.0, request_hash=b"request")


def key_of(number: int) -> Key:
    return Key("ada", f"s{number}")


def commit_after(key: Key, head: Head) -> Commit:
    """The commit of the next step, which releases what leaves the window."""
    step = head.committed_step + 1
    answer = Answer(step, 1, b"hash %d" % step, b"answer %d" % step)
    through = step - BIRTH.window
    return Commit(key, head.incarnation, head.epoch, answer, b"state %d" % step, "cpu", "client", through)


async def step_for_ever(store: LmdbStore, number: int) -> None:
    outcome = await store.create(key_of(number), BIRTH, b"born", b"state 0", "client")
    while True:
        assert isinstance(outcome, Applied)
        if outcome.head.committed_step:
            print(number, outcome.head.committed_step, flush=True)
        (outcome,) = await store.commit([commit_after(key_of(number), outcome.head)])


async def main(folder: str, durability: str) -> None:
    store = LmdbStore.at(folder, Durability[durability])
    await asyncio.gather(*(step_for_ever(store, number) for number in range(5)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

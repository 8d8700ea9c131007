"""Commits per second of the embedded store, beside what LMDB itself needs to write the same bytes in the same run.

    python -m benchmarks.store [--path FOLDER] [--seconds 2] [--state-bytes 12288] [--group 64] [--redis URL]

`floor` puts states alone: one table, one put a session, the same grouping and the same durability, no records, no
answers, no thread. `one call` commits a group by one call; `tasks` commits each session from a task of its own, which
the store has to join by itself. The best round counts: others are busy on the machine too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import lmdb

from service.store.base import Answer, Applied, Birth, Commit, Durability, Head, Key, Store
from service.store.lmdb import LmdbStore
from service.store.redis import RedisStore, durability_at

WINDOW = 64
SESSIONS = 1024


@dataclass(frozen=True, slots=True)
class Load:
    """What is measured."""

    seconds: float  # for each line
    state_bytes: int
    answer_bytes: int
    group: int  # sessions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, help="folder on the volume to measure; a temporary one by default")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--state-bytes", type=int, default=12 * 1024)
    parser.add_argument("--answer-bytes", type=int, default=128)
    parser.add_argument("--group", type=int, default=64)
    parser.add_argument("--redis", help="redis://HOST:PORT/DB of a Redis to measure beside it")
    options = parser.parse_args()
    load = Load(options.seconds, options.state_bytes, options.answer_bytes, options.group)
    folder = Path(tempfile.mkdtemp(prefix="tapehead-bench-", dir=options.path))
    try:
        print(f"state {load.state_bytes} B, answer {load.answer_bytes} B, groups of {load.group}, at {folder}")
        for durability in (Durability.DISK, Durability.PROCESS):
            for group in (load.group, 1):
                measure(folder / f"{durability.name}-{group}", durability, load, group)
        for group in (load.group, 1) if options.redis else ():
            measure_redis(options.redis, load, group)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, durability: Durability, load: Load, group: int) -> None:
    floor = put_alone(folder / "floor", durability, load, group)
    show(durability.name.lower(), group, "floor", floor, floor)
    for way in ("one call", "tasks") if group > 1 else ("one call",):
        cost = asyncio.run(commit(lmdb_at(folder / way, durability), load, group, way))
        show(durability.name.lower(), group, way, cost, floor)


def measure_redis(url: str, load: Load, group: int) -> None:
    level = durability_at(url, None, None).name.lower()
    for way in ("one call", "tasks") if group > 1 else ("one call",):
        cost = asyncio.run(commit(lambda: RedisStore.at(url), load, group, way))
        show(f"redis {level}", group, way, cost, cost)


def lmdb_at(folder: Path, durability: Durability) -> Callable[[], Awaitable[Store]]:
    async def opened() -> Store:
        return LmdbStore.at(folder, durability, map_size=8 << 30)

    return opened


def show(level: str, group: int, what: str, cost: float, floor: float) -> None:
    line = f"{level:13} group {group:3}  {what:9} {1e6 / cost:9.0f} commits/s {cost:8.1f} us each"
    print(line + (f"  floor + {cost - floor:.1f} us" if cost != floor else ""), flush=True)


def put_alone(folder: Path, durability: Durability, load: Load, group: int) -> float:
    """Microseconds for each put, in the best round."""
    folder.mkdir(parents=True)
    synchronous = durability is Durability.DISK
    environment = lmdb.open(str(folder), map_size=8 << 30, sync=synchronous, metasync=synchronous)
    state, best, number = os.urandom(load.state_bytes), float("inf"), 0
    end = time.perf_counter() + load.seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        with environment.begin(write=True) as txn:
            for _ in range(group):
                txn.put((number % SESSIONS).to_bytes(8, "big"), state)
                number += 1
        best = min(best, time.perf_counter() - begin)
    environment.close()
    return best / group * 1e6


async def commit(open_store: Callable[[], Awaitable[Store]], load: Load, group: int, way: str) -> float:
    """Microseconds for each commit, in the best round. Every commit releases an answer, as in a long stream."""
    store, run = await open_store(), uuid.uuid4().hex
    keys = [Key("bench", f"{run}/{number}") for number in range(SESSIONS)]
    heads = dict(zip(keys, await asyncio.gather(*(create(store, key) for key in keys)), strict=True))
    state, payload, best, first = os.urandom(load.state_bytes), os.urandom(load.answer_bytes), float("inf"), 0
    commit_group = all_in_one_call(store) if way == "one call" else each_in_a_task(store)
    end = time.perf_counter() + load.seconds
    while time.perf_counter() < end:
        chosen = [keys[(first + row) % SESSIONS] for row in range(group)]
        commits = [next_commit(key, heads[key], state, payload) for key in chosen]
        begin = time.perf_counter()
        after = await commit_group(commits)
        best = min(best, time.perf_counter() - begin)
        heads.update(zip(chosen, after, strict=True))
        first += group
    await store.close()
    return best / group * 1e6


async def create(store: Store, key: Key) -> Head:
    birth = Birth("ntm-copy", 1, WINDOW, 3600.0, os.urandom(32))
    return applied(await store.create(key, birth, os.urandom(16), b"", "client"))


def all_in_one_call(store: Store) -> Callable[[list[Commit]], Awaitable[list[Head]]]:
    async def commit_group(commits: list[Commit]) -> list[Head]:
        return [applied(outcome) for outcome in await store.commit(commits)]

    return commit_group


def each_in_a_task(store: Store) -> Callable[[list[Commit]], Awaitable[list[Head]]]:
    async def commit_group(commits: list[Commit]) -> list[Head]:
        outcomes = await asyncio.gather(*(store.commit([each]) for each in commits))
        return [applied(outcome) for (outcome,) in outcomes]

    return commit_group


def next_commit(key: Key, head: Head, state: bytes, payload: bytes) -> Commit:
    step = head.committed_step + 1
    answer = Answer(step, 1, bytes(32), payload)
    return Commit(key, head.incarnation, head.epoch, answer, state, "cpu", "client", step - WINDOW)


def applied(outcome: object) -> Head:
    assert isinstance(outcome, Applied), outcome
    return outcome.head


if __name__ == "__main__":
    main()

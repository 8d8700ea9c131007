"""What an operator does with a store: copies are whole, damage is named, and what went back in time says so."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.__main__ import main
from service.store.base import Answer, Applied, Birth, Commit, Durability, Head, Key, Lost, Snapshot, Store
from service.store.lmdb import LmdbStore
from service.store.redis import RedisStore
from service.store.transfer import snapshot_of
from tests.redis_process import RedisProcess
from tests.service.store.lmdb_sessions import damage, flipped

ROOT = Path(__file__).parents[2]
KEYS = [Key(owner, f"s/{number}") for owner in ("", "ada") for number in range(3)]
Content = dict[Key, tuple[Head, Snapshot] | None]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    with RedisProcess(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with sessions of several owners, chunks, kept states, and one that ended."""

    async def fill(store: Store) -> None:
        for number, key in enumerate(KEYS):
            birth = Birth("m", 1, window=4, ttl=1000.0, request_hash=b"r", keep_every=2, keep_most=2)
            begun = await store.create(key, birth, bytes([number]) * 16, b"state 0", "client")
            assert isinstance(begun, Applied)
            head = begun.head
            for step in range(number):
                first = head.committed_step + 1
                answer = Answer(first, 1 + step % 2, b"hash", b"answer %d" % first)
                commit = Commit(key, head.incarnation, 0, answer, b"state %d" % first, "cpu", "client", first - 4)
                (outcome,) = await store.commit([replace(commit, keep=step == 2)])
                assert isinstance(outcome, Applied)
                head = outcome.head
        await store.create(Key("ada", "gone"), birth, b"gone", b"", "")
        await store.delete(Key("ada", "gone"), None)

    with_store(lmdb_at(tmp_path / "store"), fill)
    return tmp_path / "store"


def with_store(opening: Callable[[], Awaitable[Store]], act: Callable[[Store], Awaitable[object]]) -> object:
    async def run() -> object:
        store = await opening()
        try:
            return await act(store)
        finally:
            await store.close()

    return asyncio.run(run())


def lmdb_at(folder: Path) -> Callable[[], Awaitable[Store]]:
    async def opening() -> Store:
        return LmdbStore.at(folder, Durability.PROCESS)

    return opening


def content(opening: Callable[[], Awaitable[Store]]) -> Content:
    async def read(store: Store) -> Content:
        return {key: await snapshot_of(store, key) for key in KEYS}

    found = with_store(opening, read)
    assert isinstance(found, dict)
    return found


def snapshots(content: Content) -> list[Snapshot | None]:
    return [found and found[1] for found in content.values()]


def incarnations(content: Content) -> list[bytes | None]:
    return [found and found[0].incarnation for found in content.values()]


def run(*arguments: str) -> int:
    return main(["store", *arguments])


def test_a_store_goes_to_redis_and_back_with_all_that_it_has(
    folder: Path, redis: RedisProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    redis.say("FLUSHALL")
    before = content(lmdb_at(folder))

    assert run("migrate", redis.url, "--store", f"lmdb:{folder}") == 0
    there = content(lambda: RedisStore.at(redis.url))
    assert run("verify", "--store", redis.url) == 0
    assert run("migrate", f"lmdb:{tmp_path / 'back'}", "--store", redis.url) == 0
    back = content(lmdb_at(tmp_path / "back"))

    assert None not in snapshots(before)
    assert snapshots(before) == snapshots(there) == snapshots(back)
    assert incarnations(before) == incarnations(there) == incarnations(back)
    assert capsys.readouterr().out.count("6 session(s) with 12 answer(s) and 3 kept state(s)") == 3


def test_nothing_is_moved_into_a_store_that_has_sessions(
    folder: Path, redis: RedisProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    redis.say("FLUSHALL")
    assert run("migrate", redis.url, "--store", f"lmdb:{folder}") == 0

    assert run("migrate", redis.url, "--store", f"lmdb:{folder}") == 1
    assert "has sessions; expected an empty one" in capsys.readouterr().err


async def test_a_backup_is_made_beside_the_server_and_restores_every_session_as_another(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = LmdbStore.at(folder, Durability.PROCESS)  # as a server has it
    command = [
        sys.executable,
        "-m",
        "service",
        "store",
        "backup",
        str(tmp_path / "backup"),
        "--store",
        f"lmdb:{folder}",
    ]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    assert await process.wait() == 0
    await held.delete(KEYS[0], None)  # after the backup
    await held.close()

    restoring = "restore", str(tmp_path / "backup"), "--store", f"lmdb:{tmp_path / 'restored'}"
    assert await asyncio.to_thread(run, *restoring) == 0

    was, now = [
        await asyncio.to_thread(content, lmdb_at(place)) for place in (tmp_path / "backup", tmp_path / "restored")
    ]
    assert snapshots(was) == snapshots(now)
    assert None not in snapshots(now)
    assert all(old != new for old, new in zip(incarnations(was), incarnations(now), strict=True))
    store = LmdbStore.at(tmp_path / "restored", Durability.PROCESS)
    assert isinstance(await store.open(KEYS[1], bytes([1]) * 16, "client"), Lost)
    await store.close()
    assert await asyncio.to_thread(run, *restoring) == 1
    assert "expected an empty one" in capsys.readouterr().err


def test_a_backup_of_redis_is_a_folder_like_any_other(folder: Path, redis: RedisProcess, tmp_path: Path) -> None:
    redis.say("FLUSHALL")
    assert run("migrate", redis.url, "--store", f"lmdb:{folder}") == 0

    assert run("backup", str(tmp_path / "backup"), "--store", redis.url) == 0

    assert snapshots(content(lmdb_at(tmp_path / "backup"))) == snapshots(content(lmdb_at(folder)))


@pytest.mark.parametrize("table", [b"heads", b"states", b"answers", b"kept"])
def test_damage_is_named_by_session_and_the_others_are_read(
    folder: Path, tmp_path: Path, table: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    async def hurt(store: Store) -> None:
        assert isinstance(store, LmdbStore)
        damage(store, table, flipped(-1))

    with_store(lmdb_at(folder), hurt)

    assert run("verify", "--store", f"lmdb:{folder}") == 1
    said = capsys.readouterr()
    assert said.out.startswith("5 session(s)")
    assert "1 damaged" in said.out
    assert said.err.count("session 's/") >= 1
    assert run("migrate", f"lmdb:{tmp_path / 'other'}", "--store", f"lmdb:{folder}") == 1
    assert sum(snapshot is not None for snapshot in snapshots(content(lmdb_at(tmp_path / "other")))) == 5


def test_what_is_copied_is_for_its_owner_alone(folder: Path, tmp_path: Path) -> None:
    """Also in a folder that was there, and that everybody may look into; the usual umask would let them read."""
    store, backup = f"lmdb:{folder}", tmp_path / "backup"
    folder.chmod(0o755)
    backup.mkdir()
    backup.chmod(0o755)
    before = os.umask(0o022)
    try:
        assert run("backup", str(backup), "--store", store) == 0
        assert run("compact", "--store", store) == 0
    finally:
        os.umask(before)

    assert [stat.S_IMODE((place / "data.mdb").stat().st_mode) for place in (backup, folder)] == [0o600, 0o600]


def test_a_compacted_store_is_smaller_and_the_same(folder: Path) -> None:
    async def grow(store: Store) -> None:
        for number in range(50):
            key = Key("ada", f"large/{number}")
            await store.create(key, Birth("m", 1, 4, 1000.0, b""), b"large", bytes(100_000), "")
            await store.delete(key, None)

    with_store(lmdb_at(folder), grow)
    before, size = content(lmdb_at(folder)), (folder / "data.mdb").stat().st_size

    assert run("compact", "--store", f"lmdb:{folder}") == 0

    assert (folder / "data.mdb").stat().st_size < size
    assert content(lmdb_at(folder)) == before
    assert sorted(file.name for file in folder.iterdir()) == ["data.mdb", "holder", "lock.mdb"]


async def test_a_store_that_a_server_holds_is_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = LmdbStore.at(folder, Durability.PROCESS)
    for command in ("compact", "verify"):
        assert await asyncio.to_thread(run, command, "--store", f"lmdb:{folder}") == 1
        assert "is held by process" in capsys.readouterr().err
    await held.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify", "--store", "lmdb:{tmp}/nowhere"), "expected a store in {tmp}/nowhere"),
        (("compact", "--store", "lmdb:{tmp}/nowhere"), "expected a store in {tmp}/nowhere"),
        (("compact", "--store", "memory:"), "expected an LMDB store"),
        (("verify", "--store", "memory:"), "gone with its server"),
        (("backup", "{tmp}", "--store", "lmdb:{tmp}/store"), "expected an empty folder"),
        (("restore", "{tmp}", "--store", "lmdb:{tmp}/other"), "expected a store in {tmp}"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    folder: Path, tmp_path: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(argument.format(tmp=tmp_path) for argument in arguments)) == 1

    text = capsys.readouterr().err
    assert said.format(tmp=tmp_path) in text
    assert text.count("\n") == 1
    assert not (tmp_path / "nowhere").exists()


def test_a_store_that_cannot_be_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", "--store", "mysql://x") == 2
    assert "--store: expected lmdb:FOLDER" in capsys.readouterr().err

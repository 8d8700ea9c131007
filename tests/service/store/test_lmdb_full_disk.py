"""A disk that takes no more bytes, as the kernel says it: in the middle of a commit, and with room again later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# The bound on a file's size is the only full disk that needs no rights: LMDB's writes fail as they do on a volume
# without room. It holds for a process, hence one of its own.
SCRIPT = """
import asyncio, resource, sys
from dataclasses import replace
from service.errors import StoreFull, StoreUnavailable
from service.store.base import Applied, Durability, Record
from service.store.lmdb import LmdbStore
from tests.service.store.lmdb_writer import BIRTH, commit_after, key_of

async def main(folder):
    store = LmdbStore.at(folder, Durability[sys.argv[2]], reserve_bytes=0)
    created = await store.create(key_of(0), BIRTH, b"born", b"state 0", "client")
    head, refused, large = created.head, 0, bytes(200_000)
    size = (await asyncio.to_thread(lambda: __import__("os").stat(folder + "/data.mdb"))).st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1_000_000, resource.RLIM_INFINITY))
    for _ in range(60):
        commit = commit_after(key_of(0), head)
        try:
            [outcome] = await store.commit([replace(commit, answer=replace(commit.answer, payload=large))])
        except (StoreFull, StoreUnavailable) as error:
            refused += 1
            found = await store.load(key_of(0))
            assert isinstance(found, Record)
            assert found.head.committed_step in (head.committed_step, commit.answer.last_step)
            head = found.head
            if refused == 3:
                print("refused", type(error).__name__, flush=True)
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        else:
            assert isinstance(outcome, Applied)
            assert refused in (0, 1, 2, 3)
            head = outcome.head
        if refused >= 3 and head.committed_step >= 20:
            break
    await store.close()
    again = LmdbStore.at(folder, Durability[sys.argv[2]])
    found = await again.load(key_of(0))
    assert isinstance(found, Record) and found.head == head, (found, head)
    assert found.state == b"state %d" % head.committed_step
    kept = await again.answers(key_of(0), b"born", 0)
    assert [answer.first_step for answer in kept] == list(range(head.oldest_kept_answer, head.committed_step + 1))
    print("committed", head.committed_step, flush=True)
    await again.close()

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("durability", ["PROCESS", "DISK"])
def test_a_full_disk_refuses_steps_and_takes_them_once_it_has_room(tmp_path: Path, durability: str) -> None:
    assert signal.getsignal(signal.SIGXFSZ) is signal.SIG_IGN  # as Python has it: the write fails instead
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "store"), durability],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )

    assert ended.returncode == 0, ended.stderr
    assert "refused Store" in ended.stdout
    assert "committed 20" in ended.stdout

"""Whatever a session's numbers are, a commit ends: Redis serves nobody else meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.store.base import Applied, Snapshot
from service.store.redis import RedisStore
from tests.contract.sessions import BIRTH, BORN, KEY, step_after
from tests.redis_process import RedisProcess


@pytest.mark.parametrize("committed", [2**53, 2**60])
async def test_a_session_beyond_what_a_double_counts_does_not_stop_redis(tmp_path: Path, committed: int) -> None:
    with RedisProcess(tmp_path) as redis:
        store = await RedisStore.at(redis.url, reply_seconds=5.0)
        outcome = await store.restore(KEY, Snapshot(BIRTH, committed, "", b"state"), BORN, None)
        assert isinstance(outcome, Applied)
        head = outcome.head
        for _ in range(4):
            (outcome,) = await store.commit([step_after(head, release_through=head.committed_step)])
            assert isinstance(outcome, Applied)
            head = outcome.head

        assert head.committed_step == committed + 4
        assert redis.say("PING") == "+PONG"
        await store.close()


async def test_long_answers_are_released_together(tmp_path: Path) -> None:
    """Two chunks, each nearly as long as the widest window, lie there until one of that length releases both."""
    with RedisProcess(tmp_path) as redis:
        store = await RedisStore.at(redis.url)
        outcome = await store.restore(KEY, Snapshot(BIRTH, 0, "", b"state"), BORN, None)
        assert isinstance(outcome, Applied)
        head = outcome.head
        for steps, released in ((1000, 0), (1000, 976), (1024, 2000)):
            (outcome,) = await store.commit([step_after(head, steps, release_through=released)])
            assert isinstance(outcome, Applied)
            head = outcome.head

        assert [answer.last_step for answer in await store.answers(KEY, BORN, 0)] == [3024]
        assert head.oldest_kept_answer == 2001
        await store.close()

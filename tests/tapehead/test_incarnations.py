"""Calls that are repeated by themselves name the session that was meant: never another that has taken its id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from tapehead import aio, errors
from tests.tapehead.fake_script import DRAINING
from tests.tapehead.fake_server import FakeServer

ROW = {"x": np.array([1, 2], np.float32)}
Call = Callable[[aio.Client], Awaitable[object]]
CALLS: dict[str, Call] = {
    "step": lambda client: client.step("s", 1, ROW),
    "rewind": lambda client: client.sessions.rewind("s", 1, 0),
    "fork": lambda client: client.sessions.fork("s", new_session_id="f"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_repeat_does_not_reach_the_session_that_took_the_id(
    server: FakeServer, client: aio.Client, call: Call
) -> None:
    """The first try fails on its way; before the second one the session is deleted and created again."""
    server.make("s")
    await client.sessions.get("s")
    reborn = server.make("s")
    server.unary_failures.append(DRAINING)

    with pytest.raises(errors.SessionReplaced):
        await call(client)

    assert reborn.committed == 0
    assert "f" not in server.sessions


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_who_calls_again_means_what_is_there_then(server: FakeServer, client: aio.Client, call: Call) -> None:
    server.make("s")
    await client.sessions.get("s")
    server.make("s")
    with pytest.raises(errors.SessionReplaced):
        await call(client)

    await call(client)


async def test_a_client_that_knows_nothing_of_a_session_asks_first(server: FakeServer, client: aio.Client) -> None:
    session = server.make("s")
    server.unary_failures += [DRAINING, DRAINING]

    assert (await client.step("s", 1, ROW)).step == 1
    await client.step("s", 2, ROW)

    assert session.committed == 2
    assert len(server.metadata) == 2 + 1 + 2  # two failures, one question, two steps


async def test_who_deletes_and_creates_again_means_the_new_one(server: FakeServer, client: aio.Client) -> None:
    server.make("s")
    await client.step("s", 1, ROW)
    await client.sessions.delete("s")
    server.make("s")

    assert (await client.step("s", 1, ROW)).step == 1


async def test_a_named_incarnation_is_the_one_that_is_meant(server: FakeServer, client: aio.Client) -> None:
    old = server.make("s").incarnation
    server.make("s")

    with pytest.raises(errors.SessionReplaced):
        await client.step("s", 1, ROW, incarnation=old)

"""The unary calls of the asynchronous client."""

from __future__ import annotations

import asyncio
import logging

import grpc
import pytest

from tapehead import aio, errors, reconnect
from tests.tapehead.fake_script import DRAINING, Status
from tests.tapehead.fake_server import FakeServer


class TestConversation:
    async def test_each_sentence_is_told_once_even_if_the_server_goes_away(
        self, server: FakeServer, client: aio.Client
    ):
        conversation = await client.conversation("echo-qa")
        server.unary_failures += [DRAINING, DRAINING]

        await conversation.tell("Mary went home")
        await conversation.tell("John went out", "Daniel went up")

        assert server.sessions[conversation.session_id].sentences == [
            "Mary went home",
            "John went out",
            "Daniel went up",
        ]
        answer = await conversation.ask("Where is Daniel?", answer_count=1)
        assert (answer.text, answer.step, len(answer.hops)) == ("up", 3, 2)

    @pytest.mark.parametrize("session_id", [None, ""])
    async def test_none_is_created_where_that_is_not_wanted(
        self, server: FakeServer, client: aio.Client, session_id: str | None
    ):
        with pytest.raises(ValueError, match="session_id: expected the id of a session"):
            await client.conversation("echo-qa", session_id, create=False)
        assert server.sessions == {}

    async def test_more_than_a_window_is_told_in_several_commits(self, server: FakeServer, client: aio.Client):
        server.make("s", "echo-qa", window=2)
        conversation = await client.conversation("echo-qa", "s")

        await conversation.tell(*"abcde")

        assert server.sessions["s"].sentences == list("abcde")
        assert conversation.told_count == 5

    async def test_another_teller_is_noticed(self, client: aio.Client):
        one = await client.conversation("echo-qa", "s")
        other = await client.conversation("echo-qa", "s")
        await one.tell("Mary went home")

        with pytest.raises(errors.StepPayloadMismatch):
            await other.tell("Mary went out")

    async def test_a_lost_creation_is_repeated_with_the_same_request_id(self, server: FakeServer, client: aio.Client):
        server.unary_failures.append(DRAINING)

        await client.conversation("echo-qa")

        assert len(server.sessions) == 1


class TestCalls:
    async def test_a_whole_story_is_a_text_or_sentences(self, client: aio.Client):
        as_text = await client.ask("Mary went home\n\nJohn went out\n", "Where is John?")
        as_list = await client.ask(["Mary went home", "John went out"], "Where is John?")

        assert as_text == as_list
        assert as_text.text == "out"

    async def test_what_does_not_pass_is_raised_at_once(self, server: FakeServer, client: aio.Client):
        server.unary_failures.append(Status(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVER_CAPACITY", retry_after=0.25))

        with pytest.raises(errors.OverCapacity) as caught:
            await client.server()
        assert caught.value.retry_after == 0.25

    async def test_a_delete_is_sent_once(self, server: FakeServer, client: aio.Client):
        server.make("s")
        server.unary_failures.append(DRAINING)

        with pytest.raises(errors.Draining):
            await client.sessions.delete("s")
        assert await client.sessions.delete("s") == 0

    async def test_lists_go_through_all_pages(self, server: FakeServer, client: aio.Client):
        for name in "abcde":
            server.make(name, "adder" if name < "d" else "echo-qa")

        assert [info.session_id for info in await client.sessions.list()] == list("abcde")
        assert [info.session_id for info in await client.sessions.list(model_id="echo-qa")] == ["d", "e"]
        with pytest.raises(ValueError, match="state: expected attached or parked"):
            await client.sessions.list(state="asleep")

    async def test_a_model_is_asked_for_once(self, server: FakeServer, client: aio.Client):
        for _ in range(3):
            async with client.session("adder"):
                pass

        assert len(server.metadata) == 3 + 1  # three streams, one manifest

    async def test_patience_covers_a_server_that_starts_late(self, server: FakeServer, client: aio.Client):
        await server.stop()
        asking = asyncio.create_task(client.server())
        await server.start(server.address)

        assert (await asking).version == "0.0.0"

    @pytest.mark.parametrize("what", ["call", "stream"])
    async def test_a_wait_that_lasts_is_told_of(
        self, what: str, server: FakeServer, client: aio.Client, monkeypatch: pytest.MonkeyPatch
    ):
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        handler = logging.Handler()
        monkeypatch.setattr(handler, "emit", lambda record: told.done() or told.set_result(record.getMessage()))
        monkeypatch.setattr(logging.getLogger("tapehead"), "handlers", [handler])
        monkeypatch.setattr(reconnect, "SILENT", 0.0)
        await server.stop()
        waiting = asyncio.create_task(client.server() if what == "call" else client.session("adder").__aenter__())
        message = await asyncio.wait_for(told, 30)
        await server.start(server.address)
        await waiting

        assert message.startswith(f"waiting for {server.address}, at most 30 seconds more: ")
        assert "cannot be reached" in message

    async def test_a_wrong_durability_is_named(self, client: aio.Client):
        with pytest.raises(ValueError, match="durability: expected disk, process or memory, got 'paper'"):
            client.session("adder", durability="paper")

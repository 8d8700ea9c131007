"""Sessions whose stream, server or process is lost, against a server that breaks where it is told to."""

from __future__ import annotations

import asyncio
import json

import grpc
import numpy as np
import pytest

from tapehead import ResumeToken, aio, errors
from tests.tapehead.adding import ROWS, SUMS, collect
from tests.tapehead.fake_script import Script, Status
from tests.tapehead.fake_server import FakeServer


class TestLosses:
    @pytest.mark.parametrize("window", [1, 4, 64])
    @pytest.mark.parametrize("where", ["cut_before_commit_of", "cut_after_commit_of", "cut_after_answer_to"])
    async def test_a_lost_stream_goes_unnoticed(self, server: FakeServer, client: aio.Client, where: str, window: int):
        for step in (3, 4, 11):
            server.scripts.append(Script(**{where: step}))
        async with client.session("adder", "s", window=window) as session:
            np.testing.assert_array_equal(await collect(session), SUMS)
            assert session.reconnect_count == 3

        assert len(server.sessions["s"].inputs) == 20

    async def test_an_open_whose_reply_is_lost_creates_one_session(self, server: FakeServer, client: aio.Client):
        server.scripts.append(Script(lose_opened=True))
        async with client.session("adder") as session:
            await session.step(ROWS[0])

        assert len(server.sessions) == 1
        assert server.opens[0].create == server.opens[1].create
        assert session.session_id in server.sessions

    async def test_a_reopening_names_what_it_goes_on_from(self, server: FakeServer, client: aio.Client):
        server.scripts.append(Script(cut_after_answer_to=2))
        async with client.session("adder", "s") as session:
            await collect(session)

        first, second = server.opens
        assert first.HasField("create")
        assert not first.HasField("last_received_step")
        assert not second.HasField("create")
        assert (second.incarnation, second.last_received_step) == (session.incarnation, 2)
        assert first.client_id == second.client_id == session.client_id != ""

    async def test_a_draining_server_is_left_and_nothing_is_lost(self, server: FakeServer, client: aio.Client):
        server.scripts.append(Script(drain_after_answer_to=5))
        async with client.session("adder", "s") as session:
            np.testing.assert_array_equal(await collect(session), SUMS)

        assert len(server.sessions["s"].inputs) == 20

    async def test_a_server_that_dies_and_comes_back_is_found_again(self, server: FakeServer, client: aio.Client):
        async with client.session("adder", "s") as session:
            await session.step(ROWS[0])
            await server.stop()
            pending = asyncio.create_task(session.step(ROWS[1]))
            await server.start(server.address)
            np.testing.assert_array_equal((await pending).output, SUMS[1])

    @pytest.mark.parametrize("reason", ["STORE_UNAVAILABLE", "MODEL_LOADING", "DRAINING"])
    async def test_what_passes_by_itself_is_waited_for_at_the_open(
        self, server: FakeServer, client: aio.Client, reason: str
    ):
        server.scripts.append(Script(refuse_open=Status(grpc.StatusCode.UNAVAILABLE, reason, retry_after=0.01)))
        async with client.session("adder") as session:
            assert (await session.step(ROWS[0])).step == 1

    async def test_h11_the_ghost_of_an_own_open_costs_one_reconnect(self, server: FakeServer, client: aio.Client):
        ghost = Status(grpc.StatusCode.ABORTED, "SESSION_TAKEN_OVER", {"same_client": "true"})
        server.scripts.append(Script(cut_after_commit_of=2, status=ghost))
        async with client.session("adder") as session:
            np.testing.assert_array_equal(await collect(session), SUMS)
            assert session.reconnect_count == 1

    async def test_h11_a_session_that_somebody_else_took_is_given_up(self, server: FakeServer, client: aio.Client):
        taken = Status(grpc.StatusCode.ABORTED, "SESSION_TAKEN_OVER", {"same_client": "false"})
        server.scripts.append(Script(cut_after_commit_of=2, status=taken))
        async with client.session("adder") as session:
            with pytest.raises(errors.SessionTakenOver):
                await collect(session)
            with pytest.raises(errors.SessionTakenOver):
                await session.step(ROWS[0])

        assert len(server.opens) == 1

    @pytest.mark.parametrize(
        ("code", "reason", "kind"),
        [
            (grpc.StatusCode.DATA_LOSS, "STATE_REGRESSED", errors.StateRegressed),
            (grpc.StatusCode.DATA_LOSS, "STATE_CORRUPT", errors.StateCorrupt),
            (grpc.StatusCode.FAILED_PRECONDITION, "SESSION_REPLACED", errors.SessionReplaced),
            (grpc.StatusCode.OUT_OF_RANGE, "ANSWER_RELEASED", errors.AnswerReleased),
            (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID", errors.TokenInvalid),
            (grpc.StatusCode.FAILED_PRECONDITION, "NEWER_THAN_THIS_CLIENT", errors.TapeheadError),
        ],
    )
    async def test_everything_else_is_raised(
        self,
        server: FakeServer,
        client: aio.Client,
        code: grpc.StatusCode,
        reason: str,
        kind: type[errors.TapeheadError],
    ):
        server.scripts += [Script(cut_after_answer_to=1), Script(refuse_open=Status(code, reason, {"fact": "1"}))]
        async with client.session("adder") as session:
            with pytest.raises(kind) as caught:
                await collect(session)

        assert (caught.value.code, caught.value.reason, caught.value.metadata) == (code, reason, {"fact": "1"})

    async def test_patience_ends(self, server: FakeServer):
        client = aio.connect(server.address, reconnect_timeout=0.2)
        async with client, client.session("adder") as session:
            await server.stop()
            with pytest.raises(errors.ServerUnreachable, match="cannot be reached"):
                await session.step(ROWS[0])

    async def test_no_server_at_all(self):
        client = aio.connect("127.0.0.1:1", connect_timeout=0.1)
        async with client:
            with pytest.raises(errors.ServerUnreachable, match=r"127\.0\.0\.1:1 cannot be reached"):
                async with client.session("adder"):
                    pass


class TestTokens:
    async def test_another_process_goes_on_with_the_inputs_after_the_token(
        self, server: FakeServer, client: aio.Client
    ):
        async with client.session("adder", "s") as session:
            await collect(session, ROWS[:5])
            saved = json.dumps(session.token.to_dict())
            await collect(session, ROWS[5:8])  # their answers die with this process

        token = ResumeToken.from_dict(json.loads(saved))
        async with client.session(resume=token) as session:
            np.testing.assert_array_equal(await collect(session, ROWS[5:]), SUMS[5:])

        assert server.opens[1].previous_client_id == token.client_id != server.opens[1].client_id
        assert len(server.sessions["s"].inputs) == 20

    async def test_missed_answers_need_no_inputs(self, client: aio.Client):
        async with client.session("adder", "s") as session:
            token = session.token
            await collect(session, ROWS[:3])

        async with client.session(resume=token) as session:
            missed = await session.missed()
            result = await session.step(ROWS[3])

        assert [(answer.step, answer.replayed) for answer in missed] == [(1, True), (2, True), (3, True)]
        assert result.step == 4

    async def test_other_inputs_than_before_are_refused(self, client: aio.Client):
        async with client.session("adder", "s") as session:
            token = session.token
            await session.step(ROWS[0])

        async with client.session(resume=token) as session:
            with pytest.raises(errors.StepPayloadMismatch):
                await session.step(ROWS[1])
            assert (await session.step(ROWS[0])).replayed

    async def test_a_token_counts_what_was_given_to_the_caller(self, client: aio.Client):
        async with client.session("adder") as session:
            async for result in session.stream(ROWS):
                assert session.token.last_received_step == result.step

    async def test_h10_a_durable_token_keeps_its_answers(self, server: FakeServer, client: aio.Client):
        async with client.session("adder", "s", window=4, durable_token=True) as session:
            with pytest.raises(errors.WindowFull, match="save the token"):
                await collect(session)
            token = session.token
            with pytest.raises(errors.WindowFull):
                await session.step(ROWS[4])
            session.saved(token)
            assert (await session.step(ROWS[4])).step == 5

        async with client.session(resume=token) as session:
            assert [answer.step for answer in await session.missed()] == [5]

    async def test_a_durable_stream_goes_on_as_tokens_are_saved(self, client: aio.Client):
        async with client.session("adder", window=4, durable_token=True) as session:
            outputs = []
            async for result in session.stream(ROWS):
                outputs.append(result.output)
                if result.step % 3 == 0:
                    session.saved(session.token)

        np.testing.assert_array_equal(outputs, SUMS)

"""The unary calls on sessions."""

from __future__ import annotations

import grpc
import grpc.aio
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration

from service.api.pages import page_token
from service.store.base import Durability
from tapehead.v1 import session_pb2
from tapehead.v1 import session_service_pb2 as pb
from tests.service.api.conftest import Served, info_of
from tests.service.api.fakes import INCARNATION, question_model
from tests.service.api.stream_calls import numbers, tensor


async def test_creating_passes_on_what_was_asked(served: Served) -> None:
    request = pb.CreateSessionRequest(
        session_id="mine",
        model_id="sum",
        model_version=2,
        request_id="r",
        labels={"a": "b"},
        durability=session_pb2.DURABILITY_PROCESS,
        window=9,
        ttl=Duration(seconds=5, nanos=500_000_000),
    )
    session = (await served.sessions.CreateSession(request)).session
    spec = served.lifecycle.created[0]

    assert (spec.session_id, spec.model_id, spec.model_version, spec.request_id) == ("mine", "sum", 2, "r")
    assert (spec.labels, spec.durability, spec.window, spec.ttl) == ({"a": "b"}, Durability.PROCESS, 9, 5.5)
    assert (session.session_id, session.incarnation, session.model_id) == ("mine", INCARNATION.hex(), "sum")


async def test_a_session_is_shown_whole(served: Served) -> None:
    served.lifecycle.ids = ["s"]
    session = (await served.sessions.GetSession(pb.GetSessionRequest(session_id="s"))).session

    assert session.state == session_pb2.Session.STATE_ATTACHED
    assert session.durability == session_pb2.DURABILITY_DISK
    assert (session.model_version, session.window, session.epoch, session.state_bytes) == (2, 4, 1, 8)
    assert (session.create_time.seconds, session.last_use_time.seconds, session.expire_time.seconds) == (
        1000,
        2000,
        5600,
    )
    assert dict(session.labels) == {"job": "test"}
    assert session.ttl.seconds == 3600


async def test_no_session_and_somebody_elses_look_the_same(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.sessions.GetSession(pb.GetSessionRequest(session_id="other"))

    assert info_of(caught.value).reason == "SESSION_NOT_FOUND"


async def test_pages_together_are_the_whole_list(served: Served) -> None:
    served.lifecycle.ids = [f"s{n:02}" for n in range(25)]
    found: list[str] = []
    token = ""
    sizes = []
    while True:
        page = await served.sessions.ListSessions(pb.ListSessionsRequest(page_size=10, page_token=token))
        found += [session.session_id for session in page.sessions]
        sizes.append(len(page.sessions))
        token = page.next_page_token
        if not token:
            break

    assert found == served.lifecycle.ids
    assert sizes == [10, 10, 5]


async def test_a_page_is_100_unless_asked_otherwise_and_1000_at_most(served: Served) -> None:
    served.lifecycle.ids = [f"s{n:04}" for n in range(1500)]
    default = await served.sessions.ListSessions(pb.ListSessionsRequest())
    largest = await served.sessions.ListSessions(pb.ListSessionsRequest(page_size=1_000_000))

    assert (len(default.sessions), len(largest.sessions)) == (100, 1000)


@pytest.mark.parametrize(
    "change",
    [
        {"model_id": "sum"},
        {"labels": {"a": "b"}},
        {"state": session_pb2.Session.STATE_PARKED},
        {"page_token": "nonsense"},
        {"page_token": "\u00e9\u00e9\u00e9\u00e9"},
        {"page_token": "AAAAAAAAAAAAAAAA"},
    ],
    ids=str,
)
async def test_a_page_token_belongs_to_its_list(served: Served, change: dict[str, object]) -> None:
    served.lifecycle.ids = ["a", "b"]
    page = await served.sessions.ListSessions(pb.ListSessionsRequest(page_size=1))
    request = {"page_size": 1, "page_token": page.next_page_token} | change
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.sessions.ListSessions(pb.ListSessionsRequest(**request))  # type: ignore[arg-type]

    assert info_of(caught.value).reason == "INVALID_PAGE_TOKEN"


async def test_a_page_token_that_somebody_made_up_is_refused_before_the_store_sees_it(served: Served) -> None:
    """Whoever knows how tokens are made can make one; what no id can be is none, however well it is made."""
    filters = ("sessions", "", False, "", {}, 0)
    for after, code in (("z" * 100, grpc.StatusCode.OK), ("z" * 600, grpc.StatusCode.INVALID_ARGUMENT)):
        call = served.sessions.ListSessions(pb.ListSessionsRequest(page_token=page_token(after, *filters)))
        assert await call.code() is code


async def test_deleting_tells_the_last_step(served: Served) -> None:
    response = await served.sessions.DeleteSession(pb.DeleteSessionRequest(session_id="s"))

    assert response.committed_step == 7


async def test_a_step_is_answered_with_its_incarnation(served: Served) -> None:
    response = await served.sessions.Step(
        pb.StepRequest(session_id="s", step=1, inputs=[tensor(1, 2)], outputs=["y", "tape"]), timeout=20
    )

    assert numbers(response.result) == [1, 2]
    assert list(response.result.outputs[1].shape) == [2, 2]
    assert (response.incarnation, response.result.committed_step) == (INCARNATION.hex(), 1)
    assert response.result.input_hash == served.calls.messages[0].input_hash
    assert served.calls.deadlines[0] == pytest.approx(20, abs=10)


async def test_a_step_without_deadline_may_take_its_time(served: Served) -> None:
    await served.sessions.Step(pb.StepRequest(session_id="s", step=1, inputs=[tensor(1, 2)]))

    assert served.calls.deadlines == [None]


async def test_a_step_of_a_chunk_keeps_the_time_axis(served: Served) -> None:
    array = np.ones((2, 2), np.float32)
    x = tensor(0, 0)
    del x.shape[:]
    x.shape.extend([2, 2])
    x.raw = array.tobytes()
    response = await served.sessions.Step(pb.StepRequest(session_id="s", step=1, step_count=2, inputs=[x]))

    assert list(response.result.outputs[0].shape) == [2, 2]
    assert served.calls.messages[0].inputs["x"].shape == (2, 2)


async def test_a_question_model_takes_no_steps(served: Served) -> None:
    served.calls.model = question_model()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.sessions.Step(pb.StepRequest(session_id="s", step=1, inputs=[tensor(1, 2)]))

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

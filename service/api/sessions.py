"""SessionService: decode, ask, encode."""

from __future__ import annotations

from tapehead.v1 import portable_pb2, session_pb2
from tapehead.v1 import session_service_pb2 as pb

from ..engine.calls import Calls
from ..errors import InvalidField
from ..hosting.model import Model
from ..sessions.lifecycle import Lifecycle
from ..sessions.listing import Filter, SessionView
from ..sessions.owners import Role
from ..store.base import Key
from .call import Call
from .pages import page_size, page_start, page_token
from .steps import StepCodec, fill_result, step_number
from .streams import Streams
from .tensors import chosen, encode_outputs
from .transfers import Transfers
from .views import create_spec, fork_spec, incarnation_of, session_view


class SessionService:
    """Serves tapehead.v1.SessionService."""

    def __init__(self, lifecycle: Lifecycle, calls: Calls, streams: Streams, transfers: Transfers) -> None:
        self._transfers = transfers
        self._lifecycle = lifecycle
        self._calls = calls
        self._streams = streams
        self._codecs: dict[str, StepCodec] = {}  # of steps that take all plain outputs, by the model's fingerprint

    async def create_session(self, request: pb.CreateSessionRequest, call: Call) -> pb.CreateSessionResponse:
        view = await self._lifecycle.create(call.owner, create_spec(request))
        return pb.CreateSessionResponse(session=self._session(view))

    async def get_session(self, request: pb.GetSessionRequest, call: Call) -> pb.GetSessionResponse:
        key = Key(call.owner, request.session_id)
        view = await self._lifecycle.get(key, incarnation_of(request.incarnation), request.minimum_step)
        return pb.GetSessionResponse(session=self._session(view))

    async def list_sessions(self, request: pb.ListSessionsRequest, call: Call) -> pb.ListSessionsResponse:
        wanted = Filter(request.model_id, dict(request.labels), _attached(request.state))
        filters = ("sessions", call.owner, request.all_owners, request.model_id, wanted.labels, int(request.state))
        after, limit = page_start(request.page_token, *filters), page_size(request.page_size)
        if request.all_owners:
            call.caller.require(Role.OPERATOR, "listing the sessions of all owners")
            views, after = await self._lifecycle.list_all(after=after, limit=limit, wanted=wanted)
        else:
            views, after = await self._lifecycle.list(call.owner, after=after, limit=limit, wanted=wanted)
        return pb.ListSessionsResponse(
            sessions=[self._session(view) for view in views], next_page_token=page_token(after, *filters)
        )

    async def delete_session(self, request: pb.DeleteSessionRequest, call: Call) -> pb.DeleteSessionResponse:
        key = Key(call.owner, request.session_id)
        head = await self._lifecycle.delete(key, incarnation_of(request.incarnation))
        return pb.DeleteSessionResponse(committed_step=head.committed_step if head else 0)

    async def step(self, request: pb.StepRequest, call: Call) -> pb.StepResponse:
        key = Key(call.owner, request.session_id)
        incarnation = incarnation_of(request.incarnation)
        self._calls.admit(key, request.step, request.step_count)
        message = self._codec(await self._calls.model_of(key, incarnation)).decode(request)
        answer, stepped = await self._calls.step(
            key, incarnation, message, request.client_id, deadline=call.seconds_left()
        )
        response = pb.StepResponse(incarnation=stepped.hex())
        fill_result(response.result, answer)
        return response

    def _codec(self, model: Model) -> StepCodec:
        codec = self._codecs.get(model.fingerprint)
        if codec is None:
            codec = self._codecs[model.fingerprint] = StepCodec(model)
        return codec

    async def stream_steps(self, _request: None, call: Call) -> None:
        await self._streams.serve(call)

    async def read_state(self, request: pb.ReadStateRequest, call: Call) -> pb.ReadStateResponse:
        step, tensors = await self._lifecycle.read_state(
            Key(call.owner, request.session_id),
            incarnation_of(request.incarnation),
            step=request.step if request.HasField("step") else None,
            minimum_step=request.minimum_step,
        )
        response = pb.ReadStateResponse(step=step)
        encode_outputs(chosen(tensors, request.tensors), False, response.tensors)
        return response

    async def fork_session(self, request: pb.ForkSessionRequest, call: Call) -> pb.ForkSessionResponse:
        view = await self._lifecycle.fork(
            Key(call.owner, request.session_id),
            incarnation_of(request.incarnation),
            request.step if request.HasField("step") else None,
            fork_spec(request),
        )
        return pb.ForkSessionResponse(session=self._session(view))

    async def rewind_session(self, request: pb.RewindSessionRequest, call: Call) -> pb.RewindSessionResponse:
        answer, incarnation = await self._calls.rewind(
            Key(call.owner, request.session_id),
            incarnation_of(request.incarnation),
            step_number(request.step),
            request.to_step,
            request.client_id,
            deadline=call.seconds_left(),
        )
        response = pb.RewindSessionResponse(incarnation=incarnation.hex())
        fill_result(response.result, answer)
        return response

    async def export_session(self, request: portable_pb2.ExportSessionRequest, call: Call) -> None:
        await self._transfers.export_session(request, call)

    async def import_session(self, _request: None, call: Call) -> None:
        view = await self._transfers.import_session(call)
        await call.write(portable_pb2.ImportSessionResponse(session=self._session(view)))

    def _session(self, view: SessionView) -> session_pb2.Session:
        durability = self._lifecycle.store_durability
        message = session_view(view.session_id, view.head, is_attached=view.attached, durability=durability)
        message.owner = view.owner
        return message


def _attached(state: int) -> bool | None:
    match state:
        case session_pb2.Session.STATE_UNSPECIFIED:
            return None
        case session_pb2.Session.STATE_ATTACHED:
            return True
        case session_pb2.Session.STATE_PARKED:
            return False
        case _:
            raise InvalidField("state", "ATTACHED, PARKED or none", state)

"""A server in this process that keeps the step protocol in a page, and breaks it where a script says so.

Its one sequence model, `adder`, has the input `x` [2], the output `y` = the sum of all inputs so far, and the
inspection output `tape`. Its question-answering model, `echo-qa`, answers with the last word of the last sentence.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import numpy as np

from service.sessions.hashing import tell_hash
from tapehead.tensors import to_arrays, to_message
from tapehead.v1 import (
    manifest_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    question_service_pb2,
    question_service_pb2_grpc,
    server_service_pb2,
    server_service_pb2_grpc,
    session_pb2,
    session_service_pb2,
    session_service_pb2_grpc,
    tensor_pb2,
)
from tapehead.v1.manifest_pb2 import QuestionAnswering
from tapehead.v1.session_service_pb2 import StepError, StepResult, StreamStepsRequest, StreamStepsResponse
from tests.ports import free_address
from tests.tapehead.fake_script import DRAINING, Script, Status, abort, overload
from tests.tapehead.fake_session import FakeSession, replayed

FLOAT = tensor_pb2.DATA_TYPE_FLOAT32


class FakeServer(
    session_service_pb2_grpc.SessionServiceServicer,
    question_service_pb2_grpc.QuestionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
    server_service_pb2_grpc.ServerServiceServicer,
):
    """Scripts are used up, one a stream; `unary_failures` too, one a unary call."""

    def __init__(self) -> None:
        self.sessions: dict[str, FakeSession] = {}
        self.scripts: deque[Script] = deque()
        self.unary_failures: deque[Status] = deque()
        self.refuse_tell: Status | None = None
        self.opens: list[session_service_pb2.StreamOpen] = []
        self.received: list[int] = []  # the number of every step message that was read
        self.has_read = asyncio.Event()  # any step at all
        self.hold = asyncio.Event()  # while clear, no step is answered
        self.hold.set()
        self.state: dict[str, np.ndarray] = {}  # beside `total`, in every session
        self.metadata: list[dict[str, str]] = []
        self.ended: list[str] = []  # how each stream ended
        self.address = ""
        self._incarnations = 0
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> FakeServer:
        await self.start(free_address())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, address: str) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(self, self._server)
        question_service_pb2_grpc.add_QuestionServiceServicer_to_server(self, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self, self._server)
        server_service_pb2_grpc.add_ServerServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(address)
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        """As by kill -9: what streams is cut at once."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    def make(self, session_id: str, model_id: str = "adder", window: int = 64, durability: int = 0) -> FakeSession:
        self._incarnations += 1
        session = FakeSession(session_id, f"{self._incarnations:032x}", model_id, window, durability)
        self.sessions[session_id] = session
        return session

    # --- streams ------------------------------------------------------------------------------------------------------

    async def StreamSteps(
        self, requests: AsyncIterator[StreamStepsRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[StreamStepsResponse]:
        script = self.scripts.popleft() if self.scripts else Script()
        self.metadata.append({str(key): str(value) for key, value in context.invocation_metadata() or ()})
        try:
            async for reply in self._stream(requests, script):
                yield reply
            self.ended.append("done")
        except Status as status:
            self.ended.append(status.reason)
            await abort(context, status)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise

    async def _stream(
        self, requests: AsyncIterator[StreamStepsRequest], script: Script
    ) -> AsyncIterator[StreamStepsResponse]:
        first = await anext(requests)
        assert first.WhichOneof("message") == "open"
        self.opens.append(first.open)
        session, opened = self._open(first.open, script)
        if script.lose_opened:
            raise script.status
        yield StreamStepsResponse(opened=opened)
        if first.open.HasField("last_received_step"):
            for step, answer in sorted(session.answers.items()):
                if step + max(1, answer.step_count) - 1 > first.open.last_received_step:
                    yield StreamStepsResponse(result=replayed(answer, session))
        expected = session.committed + 1
        async for request in requests:
            step = request.step
            self.received.append(step.step)
            self.has_read.set()
            await self.hold.wait()
            if script.cut_before_commit_of == step.step:
                raise script.status
            if step.step == expected and script.overload.get(step.step, 0):
                script.overload[step.step] -= 1
                yield StreamStepsResponse(error=overload(step.step))
                continue
            if step.step in script.fail or step.step != expected:
                error = script.fail.pop(step.step, None) or StepError(
                    step=step.step,
                    code=grpc.StatusCode.OUT_OF_RANGE.value[0],
                    reason="STEP_GAP",
                    message=f"step {step.step} is ahead of the next one, {expected}",
                    metadata={"expected_step": str(expected)},
                )
                yield StreamStepsResponse(error=error)
                continue
            answer = session.commit(
                step.step, step.step_count, to_arrays(step.inputs), list(step.outputs or first.open.outputs)
            )
            expected = session.committed + 1
            if script.cut_after_commit_of == step.step:
                raise script.status
            yield StreamStepsResponse(result=script.forge.get(step.step, answer))
            if script.cut_after_answer_to == step.step:
                raise script.status
            if script.end_after_answer_to == step.step:
                return
            if script.drain_after_answer_to == step.step:
                yield StreamStepsResponse(draining={"committed_step": session.committed})
                raise DRAINING

    def _open(
        self, request: session_service_pb2.StreamOpen, script: Script
    ) -> tuple[FakeSession, session_service_pb2.StreamOpened]:
        if script.refuse_open is not None:
            raise script.refuse_open
        session_id = request.session_id or f"drawn-{request.create.request_id}"
        session = self.sessions.get(session_id)
        if session is None:
            if request.incarnation or not request.HasField("create"):
                raise Status(grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND", {"session_id": session_id})
            session = self.make(session_id, request.create.model_id, request.create.window, request.create.durability)
            session.labels = dict(request.create.labels)
        if request.incarnation and request.incarnation != session.incarnation:
            raise Status(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_REPLACED")
        if request.HasField("last_received_step"):
            if request.last_received_step > session.committed:
                raise Status(grpc.StatusCode.DATA_LOSS, "STATE_REGRESSED")
            if request.last_received_step < session.oldest_kept_answer - 1:
                raise Status(grpc.StatusCode.OUT_OF_RANGE, "ANSWER_RELEASED")
        session.epoch += 1
        session.last_writer = request.client_id
        return session, session_service_pb2.StreamOpened(
            session=session.message(),
            epoch=session.epoch,
            committed_step=session.committed,
            window=session.window,
            durability=session.durability,
            fingerprint="fake",
        )

    # --- unary --------------------------------------------------------------------------------------------------------

    async def _enter(
        self, context: grpc.aio.ServicerContext, session_id: str | None = None, incarnation: str = ""
    ) -> FakeSession:
        self.metadata.append({str(key): str(value) for key, value in context.invocation_metadata() or ()})
        if self.unary_failures:
            await abort(context, self.unary_failures.popleft())
        if session_id is None:
            return FakeSession("", "", "", 0, 0)
        if session_id not in self.sessions:
            await abort(context, Status(grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND", {"session_id": session_id}))
        if incarnation not in ("", self.sessions[session_id].incarnation):
            await abort(context, Status(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_REPLACED"))
        return self.sessions[session_id]

    async def CreateSession(self, request, context):
        await self._enter(context)
        session_id = request.session_id or f"drawn-{request.request_id}"
        session = self.sessions.get(session_id) or self.make(
            session_id, request.model_id, request.window, request.durability
        )
        return session_service_pb2.CreateSessionResponse(session=session.message())

    async def GetSession(self, request, context):
        session = await self._enter(context, request.session_id, request.incarnation)
        return session_service_pb2.GetSessionResponse(session=session.message())

    async def DeleteSession(self, request, context):
        session = await self._enter(context, request.session_id)
        del self.sessions[request.session_id]
        return session_service_pb2.DeleteSessionResponse(committed_step=session.committed)

    async def ListSessions(self, request, context):
        """Two a page, whatever was asked for."""
        await self._enter(context)
        ids = sorted(i for i, s in self.sessions.items() if request.model_id in ("", s.model_id))
        begin = int(request.page_token or 0)
        page = [self.sessions[session_id].message() for session_id in ids[begin : begin + 2]]
        token = str(begin + 2) if begin + 2 < len(ids) else ""
        return session_service_pb2.ListSessionsResponse(sessions=page, next_page_token=token)

    async def Step(self, request, context):
        session = await self._enter(context, request.session_id, request.incarnation)
        answer = session.answers.get(request.step)
        if answer is None:
            answer = session.commit(request.step, request.step_count, to_arrays(request.inputs), list(request.outputs))
        return session_service_pb2.StepResponse(result=answer, incarnation=session.incarnation)

    async def ReadState(self, request, context):
        session = await self._enter(context, request.session_id)
        step = request.step if request.HasField("step") else session.committed
        sums = np.cumsum([np.zeros(2, np.float32), *session.inputs], axis=0, dtype=np.float32)
        tensors = {"total": sums[step], **self.state}
        return session_service_pb2.ReadStateResponse(
            step=step, tensors=[to_message(name, values) for name, values in tensors.items()]
        )

    async def ForkSession(self, request, context):
        session = await self._enter(context, request.session_id, request.incarnation)
        name = request.new_session_id or f"drawn-{request.request_id}"
        fork = self.make(name, session.model_id, request.window or session.window)
        fork.ttl = request.ttl.ToTimedelta() if request.HasField("ttl") else session.ttl
        fork.committed = request.step if request.HasField("step") else session.committed
        fork.inputs, fork.labels = session.inputs[: fork.committed], dict(request.labels)
        fork.total = np.sum([np.zeros(2, np.float32), *fork.inputs], axis=0, dtype=np.float32)
        return session_service_pb2.ForkSessionResponse(session=fork.message())

    async def RewindSession(self, request, context):
        session = await self._enter(context, request.session_id, request.incarnation)
        if request.step > session.committed:
            session.total = np.sum(
                [np.zeros(2, np.float32), *session.inputs[: request.to_step]], axis=0, dtype=np.float32
            )
            session.committed = request.step
            session.keep(request.step, StepResult(step=request.step, committed_step=request.step))
        return session_service_pb2.RewindSessionResponse(
            result=session.answers[request.step], incarnation=session.incarnation
        )

    async def Tell(self, request, context):
        session = await self._enter(context, request.session_id)
        if self.refuse_tell is not None:
            await abort(context, self.refuse_tell)
        count, digest = len(request.sentences), tell_hash(list(request.sentences))
        replayed = request.step <= session.committed
        if not replayed:
            session.sentences += request.sentences
            session.committed += count
            session.keep(request.step, StepResult(step=request.step, step_count=count, input_hash=digest))
        return question_service_pb2.TellResponse(
            step=request.step,
            step_count=count,
            input_hash=session.answers[request.step].input_hash,
            committed_step=session.committed,
            unknown_words=[w for s in request.sentences for w in s.split() if w.startswith("x")],
            replayed=replayed,
        )

    async def Ask(self, request, context):
        if request.WhichOneof("subject") == "story":
            await self._enter(context)
            sentences, step = list(request.story.sentences), 0
        else:
            session = await self._enter(context, request.session_id)
            sentences, step = session.sentences, session.committed
        if not sentences:
            await abort(context, Status(grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE"))
        weights = [0.0] * (len(sentences) - 1) + [1.0]
        return question_service_pb2.AskResponse(
            answers=[
                {"text": sentences[-1].split()[-1], "probability": 0.75},
                {"text": "nowhere", "probability": 0.25},
            ],
            hops=[{"weights": weights}, {"weights": weights[::-1]}],
            unknown_words=[w for w in request.question.split() if w.startswith("x")],
            model_id="echo-qa",
            model_version=1,
            step=step,
            attention_columns=(
                QuestionAnswering.ATTENTION_COLUMNS_SLOTS
                if request.model_id == "slot-qa"
                else QuestionAnswering.ATTENTION_COLUMNS_SENTENCES
            ),
        )

    async def ListModels(self, request, context):
        await self._enter(context)
        return model_service_pb2.ListModelsResponse(models=[_model("adder"), _model("echo-qa")])

    async def GetModel(self, request, context):
        await self._enter(context)
        if request.model_id not in ("adder", "echo-qa"):
            await abort(context, Status(grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"))
        return model_service_pb2.GetModelResponse(model=_model(request.model_id), manifest=_manifest(request.model_id))

    async def GetServer(self, request, context):
        await self._enter(context)
        return server_service_pb2.GetServerResponse(
            version="0.0.0", store="memory:", durability=session_pb2.DURABILITY_MEMORY, components={"python": "3"}
        )

    async def GetStatistics(self, request, context):
        await self._enter(context)
        steps = sum(session.committed for session in self.sessions.values())
        return server_service_pb2.GetStatisticsResponse(
            committed_step_count=steps, live_session_count=len(self.sessions)
        )


def _model(model_id: str) -> model_service_pb2.Model:
    kind = manifest_pb2.MODEL_KIND_SEQUENCE if model_id == "adder" else manifest_pb2.MODEL_KIND_QUESTION_ANSWERING
    return model_service_pb2.Model(
        model_id=model_id, version=1, kind=kind, description=f"The {model_id}.", versions=[1], state_bytes=8
    )


def _manifest(model_id: str) -> manifest_pb2.Manifest:
    manifest = manifest_pb2.Manifest(format=1, model_id=model_id, version=1)
    if model_id == "adder":
        entry = manifest.entries.add(name="step", file="model.onnx", reads_state=True, writes_state=True)
        entry.inputs.add(name="x", dtype=FLOAT, shape=[2])
        entry.outputs.add(name="y", dtype=FLOAT, shape=[2])
        entry.outputs.add(name="tape", dtype=FLOAT, shape=[3, 2], inspection=True)
    else:
        manifest.entries.add(name="tell", file="model.onnx")
    return manifest

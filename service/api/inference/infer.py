"""What a request comes to: a step of a sequence, or an answer about a story."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from time import perf_counter

import numpy as np

from tapehead.v1 import question_service_pb2
from tapehead.v1 import session_service_pb2 as session_pb
from tapehead.v1.tensor_pb2 import Tensor

from ...engine.calls import Calls
from ...errors import (
    AnswerReleased,
    InvalidField,
    ModelMismatch,
    OutcomeUnknown,
    SessionExpired,
    SessionNotFound,
    StepPayloadMismatch,
    TapeheadError,
)
from ...hosting.model import Arrays, Model, TensorSpec
from ...sessions.constants import Constants, Given
from ...sessions.identity import CreateSpec
from ...sessions.lifecycle import Lifecycle
from ...sessions.messages import StepAnswer, StepMessage
from ...sessions.sequences import Sequences
from ...sessions.standing import ENDED, WRITER, SequenceNotStarted, sequence_labels, sequence_session
from ...store.base import Key
from ..call import Call
from ..questions import QuestionService
from ..steps import StepCodec
from ..tensors import decode_given, decode_some
from .codec import add_output, asked_outputs, read_inputs, texts, to_tensor
from .messages import pb
from .parameters import Parameters, read_parameters
from .statistics import Statistics

MAX_ID = 256  # bytes of a request's id that are kept with the last answer of a sequence
QUESTION_OUTPUTS = ("answer", "probability", "attention")


class Inference:
    """Carries out requests of the Open Inference Protocol."""

    def __init__(
        self,
        calls: Calls,
        lifecycle: Lifecycle,
        sequences: Sequences,
        questions: QuestionService,
        find_model: Callable[[str, int], Model],
        statistics: Statistics,
    ) -> None:
        self._calls = calls
        self._lifecycle = lifecycle
        self._sequences = sequences
        self._questions = questions
        self._find_model = find_model
        self._statistics = statistics

    async def infer(
        self, request: pb.ModelInferRequest, call: Call, deadline: float | None = None
    ) -> pb.ModelInferResponse:
        """Answers one request; `deadline` is in seconds from now."""
        started = perf_counter()
        try:
            return await self._infer(request, call, deadline)
        except TapeheadError:
            self._statistics.failed(request.model_name, perf_counter() - started)
            raise

    async def _infer(self, request: pb.ModelInferRequest, call: Call, deadline: float | None) -> pb.ModelInferResponse:
        parameters = read_parameters(request.parameters)
        if parameters.timeout is not None:
            deadline = min(parameters.timeout, deadline if deadline is not None else parameters.timeout)
        if parameters.sequence_id:
            return await self._sequence(request, parameters, call.owner, deadline)
        model = self._find_model(request.model_name, read_version(request.model_version))
        if model.kind == "sequence":
            raise InvalidField(
                "sequence_id",
                f"a number or a name: inference request to model '{model.model_id}' must specify a non-zero or "
                "non-empty correlation ID",
                "none",
            )
        return await self._question(request, model, call)

    # --- sequences ----------------------------------------------------------------------------------------------------

    async def _sequence(
        self, request: pb.ModelInferRequest, parameters: Parameters, owner: str, deadline: float | None
    ) -> pb.ModelInferResponse:
        key = Key(owner, sequence_session(request.model_name, parameters.sequence_id))
        try:
            if parameters.start:
                return await self._start(request, parameters, key, deadline)
            return await self._step(request, parameters, key, deadline)
        except SessionNotFound:
            self._find_model(request.model_name, 0)  # or that is what the caller is told: no START would help
            raise SequenceNotStarted(key.session_id, "unknown") from None
        except SessionExpired:
            raise SequenceNotStarted(key.session_id, "expired") from None

    async def _start(
        self, request: pb.ModelInferRequest, parameters: Parameters, key: Key, deadline: float | None
    ) -> pb.ModelInferResponse:
        model = self._find_model(request.model_name, read_version(request.model_version))
        if parameters.expected_step not in (None, 1):
            raise InvalidField("parameters['expected_step']", "1, where a sequence starts", parameters.expected_step)
        message, given, batched = _decoded(request, parameters, model, is_start=True)
        labels = sequence_labels(key.session_id, parameters.sequence_id)
        spec = CreateSpec(key.session_id, model.model_id, model.version, labels=labels, given=lambda _: given)
        mark = _mark(request.id, message, given, model, parameters)
        incarnation = await self._sequences.begin(key.owner, spec, mark, is_whole=parameters.end)
        writer = ENDED if parameters.end else WRITER
        answer, _ = await self._calls.step(key, incarnation, message, writer, deadline=deadline)
        return self._answered(request, parameters, key, model, answer, incarnation, batched)

    async def _step(
        self, request: pb.ModelInferRequest, parameters: Parameters, key: Key, deadline: float | None
    ) -> pb.ModelInferResponse:
        model = await self._calls.model_of(key, None)
        version = read_version(request.model_version)
        if version not in (0, model.version):
            raise ModelMismatch(
                key.session_id, f"'{model.model_id}' version {model.version}", f"'{model.model_id}' version {version}"
            )
        message, again, batched = _decoded(request, parameters, model, is_start=False)
        if again.constants.arrays:
            head = (await self._lifecycle.get(key, None)).head
            _check_again(again.constants.arrays, Constants.read(head.birth.constants).arrays)
        numbered = parameters.expected_step is not None
        writer = ENDED if parameters.end else WRITER
        try:
            answer, incarnation = await self._calls.step(
                key, None, message, writer, deadline=deadline, numbered=numbered
            )
        except OutcomeUnknown as error:
            step = int(error.facts["step"])
            raise OutcomeUnknown(key.session_id, step, error.cause, numbered=numbered) from None
        except SequenceNotStarted:
            if numbered or not parameters.end or not request.id:
                raise
            answer, incarnation = await self._last_again(key, message)
        return self._answered(request, parameters, key, model, answer, incarnation, batched)

    async def _last_again(self, key: Key, message: StepMessage) -> tuple[StepAnswer, bytes]:
        """The answer of the request that ended a sequence, for its repeat: one of the same id and content."""
        view = await self._lifecycle.get(key, None)
        repeat = message._replace(first_step=view.head.committed_step)
        ended = SequenceNotStarted(key.session_id, "ended")
        try:
            answer, incarnation = await self._calls.step(key, view.head.incarnation, repeat, ENDED)
        except (StepPayloadMismatch, AnswerReleased):
            raise ended from None
        if answer.note != message.note:
            raise ended
        return answer, incarnation

    def _answered(
        self,
        request: pb.ModelInferRequest,
        parameters: Parameters,
        key: Key,
        model: Model,
        answer: StepAnswer,
        incarnation: bytes,
        batched: bool,
    ) -> pb.ModelInferResponse:
        if parameters.end and not answer.replayed:
            self._sequences.note_end(key, incarnation)
        response = self._response(request, model)
        response.parameters["step"].int64_param = answer.first_step
        response.parameters["replayed"].bool_param = answer.replayed
        response.parameters["session_id"].string_param = key.session_id
        response.parameters["incarnation"].string_param = incarnation.hex()
        for name, array in answer.outputs.items():
            add_output(response, name, array, batched=batched)
        return response

    # --- stories ------------------------------------------------------------------------------------------------------

    async def _question(self, request: pb.ModelInferRequest, model: Model, call: Call) -> pb.ModelInferResponse:
        wanted = asked_outputs(request) or list(QUESTION_OUTPUTS)
        for name in wanted:
            if name not in QUESTION_OUTPUTS:
                raise InvalidField("outputs", f"some of {', '.join(QUESTION_OUTPUTS)}", name)
        inputs = {given.name: given for given in read_inputs(request)}
        if set(inputs) != {"story", "question"}:
            raise InvalidField("inputs", "'story' and 'question', BYTES both", ", ".join(inputs) or "none")
        story, question = texts(inputs["story"]), texts(inputs["question"])
        if len(question) != 1:
            raise InvalidField("inputs['question']", "one text", f"{len(question)}")
        asked = question_service_pb2.AskRequest(
            model_id=model.model_id, model_version=model.version, question=question[0], answer_count=1
        )
        sentences = story if len(story) != 1 else [line for line in story[0].splitlines() if line.strip()]
        asked.story.sentences.extend(sentences)
        answered = await self._questions.ask(asked, call)
        batched = len(inputs["story"].shape) > 1 or len(inputs["question"].shape) > 1
        response = self._response(request, model)
        if answered.unknown_words:
            response.parameters["unknown_words"].string_param = " ".join(answered.unknown_words)
        best = answered.answers[0]
        found: dict[str, np.ndarray | str] = {
            "answer": best.text,
            "probability": np.array([best.probability], np.float32),
            "attention": np.array([list(hop.weights) for hop in answered.hops], np.float32),
        }
        for name in dict.fromkeys(wanted):
            add_output(response, name, found[name], batched=batched)
        return response

    def _response(self, request: pb.ModelInferRequest, model: Model) -> pb.ModelInferResponse:
        self._statistics.answered(model.model_id)
        return pb.ModelInferResponse(model_name=model.model_id, model_version=str(model.version), id=request.id)


def read_version(text: str) -> int:
    """The number of a version; 0, the newest, if the text is empty. Raises InvalidField."""
    if not text:
        return 0
    if not text.isdecimal() or len(text) > 18:
        raise InvalidField("model_version", "a number, or nothing for the newest", repr(text))
    return int(text)


def _decoded(
    request: pb.ModelInferRequest, parameters: Parameters, model: Model, *, is_start: bool
) -> tuple[StepMessage, Given, bool]:
    """The step, what its sequence is given at the start, and whether shapes have a batch axis.

    Programs made for servers that keep no constants bring them with every step; what a later one brings is told too.
    """
    step = session_pb.StepRequest(step=parameters.expected_step or 1, outputs=asked_outputs(request))
    constants: list[Tensor] = []
    start_inputs: list[Tensor] = []
    codec = StepCodec(model)
    known = {spec.name: spec for spec in model.entries["step"].inputs}
    fixed = {spec.name: spec for spec in model.constants}
    first = {spec.name: spec for spec in start_inputs_of(model)}
    specs = {**first, **fixed, **known}
    axes, scalar_axes = set[bool](), set[bool]()
    for given in read_inputs(request):
        spec = specs.get(given.name)
        tensor, batched = to_tensor(given, spec)
        (axes if spec is None or spec.shape else scalar_axes).add(batched)
        if given.name in known or given.name not in specs:
            step.inputs.append(tensor)
        elif given.name in fixed:
            constants.append(tensor)
        elif is_start:
            start_inputs.append(tensor)
        else:
            raise InvalidField("inputs", f"'{given.name}' with the START of the sequence alone", "it later")
    if len(axes) > 1:
        raise InvalidField("inputs", "a batch axis for all tensors or for none", "some with and some without")
    message = codec.decode(step)
    if parameters.end:
        message = message._replace(note=request.id.encode()[:MAX_ID])
    if is_start:
        given_once = decode_given(model, constants, start_inputs)
    else:
        given_once = Given(Constants.of(decode_some(model.constants, constants, "constants")))
    return message, given_once, (axes or scalar_axes) != {False}


def _check_again(given: Arrays, fixed: Arrays) -> None:
    """Raises InvalidField for a constant that a later step brings and that is another than its sequence began with."""
    for name, array in given.items():
        if not np.array_equal(array, fixed[name]):
            raise InvalidField(f"inputs['{name}']", "what the START of the sequence had, or nothing", "something else")


def start_inputs_of(model: Model) -> tuple[TensorSpec, ...]:
    """What a sequence is given at its start, beside the constants."""
    return model.entries["start"].inputs if "start" in model.entries else ()


def _mark(request_id: str, message: StepMessage, given: Given, model: Model, parameters: Parameters) -> str:
    """Tells a START from every other one; empty where it has no id, since then nothing is its repeat."""
    if not request_id:
        return ""
    parts = (request_id, message.input_hash.hex(), given.digest, str(model.version), str(parameters.end))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

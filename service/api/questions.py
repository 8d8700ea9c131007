"""QuestionService: decode, ask, encode."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tapehead.v1 import question_service_pb2 as pb
from tapehead.v1.manifest_pb2 import QuestionAnswering

from ..engine.calls import Calls
from ..errors import InvalidField
from ..hosting.model import Model
from ..sessions.hashing import tell_hash
from ..sessions.messages import Asked, StepMessage
from ..store.base import Key
from .call import Call
from .steps import step_number
from .texts import TextCodec, TextLimits, forgotten_sentences
from .views import incarnation_of

DEFAULT_ANSWERS = 3
MOST_ANSWERS = 100


class QuestionService:
    """Serves tapehead.v1.QuestionService."""

    def __init__(self, calls: Calls, find_model: Callable[[str, int], Model], limits: TextLimits) -> None:
        """`find_model` raises ModelNotFound; version 0 is the newest."""
        self._calls = calls
        self._find_model = find_model
        self._limits = limits

    async def ask(self, request: pb.AskRequest, call: Call) -> pb.AskResponse:
        count = _answer_count(request.answer_count)
        match request.WhichOneof("subject"):
            case "story":
                return await self._ask_story(request, count, call.owner)
            case "session_id":
                return await self._ask_session(request, count, Key(call.owner, request.session_id))
            case _:
                raise InvalidField("subject", "a story or a session_id", "none")

    async def tell(self, request: pb.TellRequest, call: Call) -> pb.TellResponse:
        step_number(request.step)
        if request.acknowledged_step < 0:
            raise InvalidField("acknowledged_step", "0 or more", request.acknowledged_step)
        key = Key(call.owner, request.session_id)
        incarnation = incarnation_of(request.incarnation)
        model = await self._calls.model_of(key, incarnation)
        told = TextCodec(model, self._limits).sentences(request.sentences, "sentences")
        message = StepMessage(
            first_step=request.step,
            step_count=len(request.sentences),
            inputs={model.entries["tell"].inputs[0].name: told.ids},
            outputs=model.default_outputs("tell"),
            input_hash=tell_hash(request.sentences),
            acknowledged_step=request.acknowledged_step,
            entry="tell",
            note="\n".join(told.unknown).encode(),  # words have no line ends
        )
        answer, incarnation = await self._calls.step(
            key, incarnation, message, request.client_id, deadline=call.seconds_left()
        )
        return pb.TellResponse(
            step=answer.first_step,
            step_count=answer.step_count,
            input_hash=answer.input_hash,
            committed_step=answer.committed_step,
            unknown_words=answer.note.decode().split("\n") if answer.note else [],
            replayed=answer.replayed,
            incarnation=incarnation.hex(),
        )

    async def _ask_story(self, request: pb.AskRequest, count: int, owner: str) -> pb.AskResponse:
        if not request.model_id:
            raise InvalidField("model_id", "the model to ask about a story", "none")
        model = self._find_model(request.model_id, request.model_version)
        codec = TextCodec(model, self._limits)
        story = codec.sentences(request.story.sentences, "story.sentences")
        question = codec.sentence(request.question, "question")
        forgotten = forgotten_sentences(len(story.ids), model.manifest.question_answering)
        asked = await self._calls.ask_story(model, story.ids[forgotten:], question.ids, owner=owner)
        unknown = dict.fromkeys(story.unknown + question.unknown)
        return _response(model, asked, count, tuple(unknown), forgotten, remembered=len(story.ids) - forgotten)

    async def _ask_session(self, request: pb.AskRequest, count: int, key: Key) -> pb.AskResponse:
        if request.minimum_step < 0:
            raise InvalidField("minimum_step", "0 or more", request.minimum_step)
        incarnation = incarnation_of(request.incarnation)
        model = await self._calls.model_of(key, incarnation)
        question = TextCodec(model, self._limits).sentence(request.question, "question")
        asked = await self._calls.ask_session(key, incarnation, question.ids, minimum_step=request.minimum_step)
        forgotten = forgotten_sentences(asked.told, model.manifest.question_answering)
        return _response(model, asked, count, question.unknown, forgotten, remembered=asked.told - forgotten)


def _answer_count(asked: int) -> int:
    if not 0 <= asked <= MOST_ANSWERS:
        raise InvalidField("answer_count", f"0 to {MOST_ANSWERS}", asked)
    return asked or DEFAULT_ANSWERS


def _response(
    model: Model, asked: Asked, count: int, unknown: Sequence[str], forgotten: int, *, remembered: int
) -> pb.AskResponse:
    rules = model.manifest.question_answering
    probabilities = asked.outputs[rules.probabilities_output]
    best = np.argsort(-probabilities, kind="stable")[:count]
    return pb.AskResponse(
        answers=[pb.RankedAnswer(text=rules.answers[i], probability=float(probabilities[i])) for i in best],
        unknown_words=unknown,
        hops=_hops(asked, rules, remembered),
        attention_columns=rules.attention_columns or QuestionAnswering.ATTENTION_COLUMNS_SENTENCES,
        model_id=model.model_id,
        model_version=model.version,
        step=asked.step,
        forgotten_sentence_count=forgotten,
    )


def _hops(asked: Asked, rules: QuestionAnswering, remembered: int) -> list[pb.HopAttention]:
    """Returns each hop's weights over what is remembered; the newest sentence is last, empty memory is left out.

    Slots of a memory that keeps no sentence apart are all given, in the model's order.
    """
    attention = asked.outputs.get(rules.attention_output)
    if attention is None:
        return []
    if rules.attention_columns == QuestionAnswering.ATTENTION_COLUMNS_SLOTS:
        return [pb.HopAttention(weights=hop) for hop in attention.tolist()]
    return [pb.HopAttention(weights=hop) for hop in attention[:, attention.shape[1] - remembered :].tolist()]

"""What stands behind the edge in its tests: models, sessions and calls that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import numpy as np

from service.errors import ModelNotFound, SessionNotFound, SessionTakenOver, TapeheadError
from service.hosting.model import EntrySpec, Model, TensorSpec
from service.sessions.identity import CreateSpec
from service.sessions.lifecycle import OpenSpec
from service.sessions.listing import Filter, SessionView
from service.sessions.messages import Asked, StepAnswer, StepMessage
from service.store.base import Birth, Durability, Head, Key
from tapehead.bundle import Vocabulary
from tapehead.v1.manifest_pb2 import Manifest, QuestionAnswering

INCARNATION = bytes(range(16))
FLOAT, INT = np.dtype(np.float32), np.dtype(np.int64)

SUM = Model(
    model_id="sum",
    version=2,
    kind="sequence",
    manifest=Manifest(model_id="sum", version=2, description="Adds up what it is given."),
    runner=None,  # type: ignore[arg-type]
    entries={
        "step": EntrySpec(
            "step",
            (TensorSpec("x", FLOAT, (2,)),),
            (TensorSpec("y", FLOAT, (2,)), TensorSpec("tape", FLOAT, (2, 2), inspection=True)),
            True,
            True,
        )
    },
    state=(TensorSpec("total", FLOAT, (2,)),),
    initial_state={"total": np.zeros(2, np.float32)},
    fingerprint="f1",
    vocabulary=None,
    batch_invariant=True,
    batch_reason="",
    max_batch=8,
    run_seconds={"step": ((1, 1e-4),)},
)

WORDS = ("", "mary", "went", "to", "the", "kitchen", "garden", "where", "is")
RULES = QuestionAnswering(
    words=WORDS,
    answers=["garden", "kitchen", "office"],
    sentence_words=6,
    memory_sentences=3,
    unknown_words=QuestionAnswering.UNKNOWN_WORDS_REFUSE,
    probabilities_output="probabilities",
    attention_output="attention",
)


def question_model(**rules: object) -> Model:
    """A question-answering model whose rules differ from RULES in these fields."""
    changed = QuestionAnswering()
    changed.CopyFrom(RULES)
    changed.MergeFrom(QuestionAnswering(**rules))  # type: ignore[arg-type]
    return replace(
        SUM,
        model_id="qa",
        version=1,
        kind="question_answering",
        manifest=Manifest(model_id="qa", version=1, question_answering=changed),
        entries={"tell": EntrySpec("tell", (TensorSpec("sentence", INT, (6,)),), (), True, True)},
        vocabulary=Vocabulary.from_manifest(changed),
    )


def head(model: Model = SUM, **changes: object) -> Head:
    birth = Birth(model.model_id, model.version, window=4, ttl=3600.0, request_hash=b"", labels={"job": "test"})
    made = Head(birth, INCARNATION, 1, 0, 1, "", "f1", 1000.0, 2000.0, 8)
    return replace(made, **changes)  # type: ignore[arg-type]


class FakeRepository:
    broken: dict[str, str] = {}  # noqa: RUF012  # never written to

    def __init__(self, *models: Model) -> None:
        self._models = models or (SUM,)

    def get(self, model_id: str, version: int = 0) -> Model:
        for model in self._models:
            if model.model_id == model_id and version in (0, model.version):
                return model
        raise ModelNotFound(model_id, version)

    def models(self) -> list[Model]:
        return list(self._models)

    def is_retired(self, model: Model) -> bool:
        return False

    def versions(self, model_id: str) -> list[int]:
        return [model.version for model in self._models if model.model_id == model_id]


class FakeAttachment:
    """Answers each step with the sum of all inputs so far, unless a step was given an error or has to wait."""

    def __init__(self, model: Model = SUM) -> None:
        self.model = model
        self.session_id = "s"
        self.head = head(model)
        self.replays: list[StepAnswer] = []
        self.fingerprint_changed = False
        self.ended: asyncio.Future[TapeheadError] = asyncio.get_running_loop().create_future()
        self.committed_step = 0
        self.errors: dict[int, Exception] = {}  # by step
        self.held: dict[int, asyncio.Event] = {}  # by step: its answer comes after this
        self.submitted: list[StepMessage] = []
        self._arrival = asyncio.Event()
        self.on_settled: Callable[[], None] = lambda: None
        self.detached = asyncio.Event()
        self._total = np.zeros(2, np.float32)

    def submit(self, message: StepMessage) -> Awaitable[StepAnswer]:
        self.submitted.append(message)
        self._arrival.set()
        answer = asyncio.ensure_future(self._answer(message))
        answer.add_done_callback(lambda _: self.on_settled())
        return answer

    def end(self, error: TapeheadError) -> None:
        if not self.ended.done():
            self.ended.set_result(error)

    def detach(self) -> None:
        self.end(SessionTakenOver("s", same_client=False))
        self.detached.set()

    async def wait_submitted(self, count: int) -> None:
        while len(self.submitted) < count:
            self._arrival.clear()
            await self._arrival.wait()

    async def _answer(self, message: StepMessage) -> StepAnswer:
        if message.first_step in self.held:
            await self.held[message.first_step].wait()
        if message.first_step in self.errors:
            raise self.errors[message.first_step]
        sums = self._total + np.cumsum(message.inputs["x"], axis=0)
        self._total = sums[-1]
        self.committed_step = message.first_step + message.length - 1
        outputs = {"y": sums, "tape": np.zeros((len(sums), 2, 2), np.float32)}
        return StepAnswer(
            first_step=message.first_step,
            step_count=message.step_count,
            outputs={name: outputs[name] if message.step_count else outputs[name][0] for name in message.outputs},
            input_hash=message.input_hash,
            committed_step=self.committed_step,
            replayed=False,
            as_lists=message.as_lists,
            note=message.note,
        )


@dataclass
class FakeLifecycle:
    """Gives what it was given, or raises what it was given."""

    error: Exception | None = None
    ids: list[str] = field(default_factory=list)
    attachment: FakeAttachment | None = None
    created: list[CreateSpec] = field(default_factory=list)
    opened: list[OpenSpec] = field(default_factory=list)
    store_durability: Durability = Durability.DISK

    async def create(self, owner: str, spec: CreateSpec) -> SessionView:
        self._raise()
        self.created.append(spec)
        return SessionView(spec.session_id or "drawn", head(), False)

    async def get(self, key: Key, incarnation: bytes | None, minimum_step: int = 0) -> SessionView:
        self._raise()
        if key.session_id not in self.ids:
            raise SessionNotFound(key.session_id)
        return SessionView(key.session_id, head(), True)

    async def list(self, owner: str, *, after: str, limit: int, wanted: Filter) -> tuple[list[SessionView], str]:
        self._raise()
        rest = [session_id for session_id in sorted(self.ids) if session_id > after]
        views = [SessionView(session_id, head(), False) for session_id in rest[:limit]]
        return views, rest[limit - 1] if len(rest) > limit else ""

    async def delete(self, key: Key, incarnation: bytes | None) -> Head:
        self._raise()
        return head(committed_step=7)

    async def open(self, owner: str, spec: OpenSpec) -> FakeAttachment:
        self._raise()
        self.opened.append(spec)
        self.attachment = self.attachment or FakeAttachment()
        return self.attachment

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error


@dataclass
class FakeCalls:
    """Answers from one attachment; raises what it was given."""

    model: Model = SUM
    refusal: Exception | None = None  # for want of room
    error: Exception | None = None
    asked: Asked | None = None
    stepper: FakeAttachment | None = None
    questions: list[tuple[object, ...]] = field(default_factory=list)
    messages: list[StepMessage] = field(default_factory=list)
    deadlines: list[float | None] = field(default_factory=list)

    def admit(self, key: Key, first_step: int, step_count: int) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def model_of(self, key: Key, incarnation: bytes | None) -> Model:
        return self.model

    async def step(
        self,
        key: Key,
        incarnation: bytes | None,
        message: StepMessage,
        client_id: str,
        *,
        deadline: float | None = None,
    ) -> tuple[StepAnswer, bytes]:
        self.deadlines.append(deadline)
        self.messages.append(message)
        if self.error is not None:
            raise self.error
        if message.entry == "tell":
            last = message.first_step + message.length - 1
            answer = StepAnswer(
                message.first_step, message.step_count, {}, message.input_hash, last, False, False, message.note
            )
            return answer, INCARNATION
        self.stepper = self.stepper or FakeAttachment()
        return await self.stepper.submit(message), INCARNATION

    async def ask_session(
        self, key: Key, incarnation: bytes | None, question: np.ndarray, *, minimum_step: int = 0
    ) -> Asked:
        self.questions.append((key, question, minimum_step))
        assert self.asked is not None
        return self.asked

    async def ask_story(self, model: Model, story: np.ndarray, question: np.ndarray, *, owner: str = "") -> Asked:
        self.questions.append((model.model_id, story, question))
        assert self.asked is not None
        return self.asked


class FakeMetrics:
    """Counts as the edge's observer."""

    received = 0
    sent = 0

    def __init__(self) -> None:
        self.rejections: list[str] = []
        self.changed_fingerprints: list[str] = []
        self.ended: list[str] = []
        self.has_started = asyncio.Event()

    def method(self, kind: str, service: str, name: str) -> FakeMetrics:
        return self

    def started(self) -> None:
        self.has_started.set()

    def handled(self, code: str, seconds: float) -> None:
        self.ended.append(code)

    def answer_sent(self, model_id: str, seconds: float) -> None: ...

    def answers_replayed(self, model_id: str, count: int) -> None:
        self.replayed = count

    def fingerprint_changed(self, model_id: str) -> None:
        self.changed_fingerprints.append(model_id)

    def rejected(self, reason: str) -> None:
        self.rejections.append(reason)

"""What calls give back, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from tapehead.tensors import Array, to_arrays
from tapehead.v1 import (
    manifest_pb2,
    model_service_pb2,
    question_service_pb2,
    server_service_pb2,
    session_pb2,
    session_service_pb2,
)


@dataclass(frozen=True, slots=True)
class StepResult:
    """The committed answer of a step or a chunk."""

    step: int  # the first one
    step_count: int  # along the outputs' leading axis; 0 for a single step, whose outputs have no such axis
    outputs: Mapping[str, Array]
    committed_step: int  # the last step that the store had when the answer was sent
    replayed: bool  # whether the answer comes from the store, because the step was committed before

    @property
    def output(self) -> Array:
        """The only output, or the first of several."""
        return next(iter(self.outputs.values()))

    @property
    def last_step(self) -> int:
        return self.step + max(1, self.step_count) - 1

    @classmethod
    def from_message(cls, message: session_service_pb2.StepResult) -> StepResult:
        return cls(
            message.step, message.step_count, to_arrays(message.outputs), message.committed_step, message.replayed
        )


@dataclass(frozen=True, slots=True)
class RankedAnswer:
    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question, with what the model looked at."""

    ranked: tuple[RankedAnswer, ...]  # the likeliest first
    hops: tuple[tuple[float, ...], ...]  # one row a hop; one weight for each remembered sentence, oldest first
    unknown_words: tuple[str, ...]
    model_id: str
    model_version: int
    step: int  # of the session that the answer saw; 0 for a whole story
    forgotten_sentence_count: int  # oldest sentences that the model's memory no longer holds
    has_slots: bool = False  # the weights belong to slots of a memory that keeps no sentence apart from the others

    @property
    def text(self) -> str:
        """The likeliest answer."""
        return self.ranked[0].text if self.ranked else ""

    @classmethod
    def from_message(cls, message: question_service_pb2.AskResponse) -> Answer:
        return cls(
            ranked=tuple(RankedAnswer(answer.text, answer.probability) for answer in message.answers),
            hops=tuple(tuple(hop.weights) for hop in message.hops),
            unknown_words=tuple(message.unknown_words),
            model_id=message.model_id,
            model_version=message.model_version,
            step=message.step,
            forgotten_sentence_count=message.forgotten_sentence_count,
            has_slots=message.attention_columns == manifest_pb2.QuestionAnswering.ATTENTION_COLUMNS_SLOTS,
        )


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What the store knows of a session."""

    session_id: str
    incarnation: str
    model_id: str
    model_version: int
    state: str  # attached, parked
    committed_step: int
    oldest_kept_answer: int
    epoch: int
    window: int  # steps
    durability: str  # memory, process, disk
    labels: Mapping[str, str]
    state_bytes: int
    fingerprint: str
    create_time: datetime | None
    last_use_time: datetime | None
    expire_time: datetime | None
    kept_steps: tuple[int, ...]  # that the session can be forked from or rewound to
    owner: str = ""  # where an operator lists the sessions of all owners

    @classmethod
    def from_message(cls, message: session_pb2.Session) -> SessionInfo:
        return cls(
            session_id=message.session_id,
            incarnation=message.incarnation,
            model_id=message.model_id,
            model_version=message.model_version,
            state=session_pb2.Session.State.Name(message.state).removeprefix("STATE_").lower(),
            committed_step=message.committed_step,
            oldest_kept_answer=message.oldest_kept_answer,
            epoch=message.epoch,
            window=message.window,
            durability=durability_name(message.durability),
            labels=dict(message.labels),
            state_bytes=message.state_bytes,
            fingerprint=message.fingerprint,
            create_time=_time(message.create_time),
            last_use_time=_time(message.last_use_time),
            expire_time=_time(message.expire_time),
            kept_steps=tuple(message.kept_steps),
            owner=message.owner,
        )


@dataclass(frozen=True, slots=True)
class State:
    """A session's state: every tensor needed to take the step after `step`."""

    step: int
    tensors: Mapping[str, Array]

    @classmethod
    def from_message(cls, message: session_service_pb2.ReadStateResponse) -> State:
        return cls(message.step, to_arrays(message.tensors))


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A served model; `manifest` only where one model was asked for."""

    model_id: str
    version: int
    kind: str  # sequence, question_answering
    description: str
    versions: tuple[int, ...]  # newest first
    state_bytes: int
    fingerprint: str
    batch_invariant: bool
    max_batch: int
    manifest: manifest_pb2.Manifest | None = None
    retired_versions: tuple[int, ...] = ()  # served only to the sessions that were made with them

    @classmethod
    def from_message(cls, message: model_service_pb2.Model, manifest: manifest_pb2.Manifest | None = None) -> ModelInfo:
        return cls(
            model_id=message.model_id,
            version=message.version,
            kind=manifest_pb2.ModelKind.Name(message.kind).removeprefix("MODEL_KIND_").lower(),
            description=message.description,
            versions=tuple(message.versions),
            state_bytes=message.state_bytes,
            fingerprint=message.fingerprint,
            batch_invariant=message.batch_invariant,
            max_batch=message.max_batch,
            manifest=manifest,
            retired_versions=tuple(message.retired_versions),
        )


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server's version, settings and parts."""

    version: str
    store: str
    durability: str
    settings: Mapping[str, str]
    components: Mapping[str, str]
    start_time: datetime | None

    @classmethod
    def from_message(cls, message: server_service_pb2.GetServerResponse) -> ServerInfo:
        return cls(
            version=message.version,
            store=message.store,
            durability=durability_name(message.durability),
            settings=dict(message.settings),
            components=dict(message.components),
            start_time=_time(message.start_time),
        )


@dataclass(frozen=True, slots=True)
class Statistics:
    """A server's counters: of everything since it started, then of the moment."""

    committed_step_count: int
    question_count: int
    batch_count: int
    replayed_answer_count: int  # stored answers that were sent again
    attached_session_count: int  # with a stream
    live_session_count: int  # with their state in memory
    waiting_step_count: int  # and questions

    @classmethod
    def from_message(cls, message: server_service_pb2.GetStatisticsResponse) -> Statistics:
        return cls(**{field.name: getattr(message, field.name) for field in fields(cls)})


def durability_name(durability: session_pb2.Durability) -> str:
    return session_pb2.Durability.Name(durability).removeprefix("DURABILITY_").lower()


def durability_number(name: str | None) -> session_pb2.Durability:
    """The durability of a name; unspecified for None, which leaves it to the server."""
    if name is None:
        return session_pb2.DURABILITY_UNSPECIFIED
    for number in (session_pb2.DURABILITY_DISK, session_pb2.DURABILITY_PROCESS, session_pb2.DURABILITY_MEMORY):
        if durability_name(number) == name:
            return number
    raise ValueError(f"durability: expected disk, process or memory, got '{name}'")


def _time(stamp: Timestamp) -> datetime | None:
    return stamp.ToDatetime(UTC) if stamp.ByteSize() else None

"""One piece of work on its way through the engine: an accepted message of a session, or a read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from enum import Enum, auto
from typing import TypeVar

from tapehead.bundle import CHUNK

from ..hosting.model import Model, chunk_key
from ..sessions.attachment import Attachment
from ..sessions.constants import NO_CONSTANTS, Constants
from ..sessions.live import LiveSession
from ..sessions.messages import Arrays, Asked, StepAnswer, StepMessage
from ..sessions.session import Span

Answered = TypeVar("Answered")

STEP, START = "step", "start"
BESIDE = 2.0  # what those with more work may add to the time of a batch that is shared evenly
REWIND = "rewind"  # the entry of a step that runs nothing: its next state is one that was before


class Stage(Enum):
    """How far work has come."""

    WAITING = auto()  # for its turn
    RUNNING = auto()  # in a batch, or between two steps of a chunk
    COMMITTING = auto()  # the store has been asked: the outcome is the store's to tell
    SETTLED = auto()  # answered, one way or the other


class Work:
    """What the scheduler, the run and the commit need to know of one message or read."""

    __slots__ = (
        "_common_key",
        "_is_chunkable",
        "_max_batch",
        "batch_key",
        "batch_limit",
        "collected",
        "constants",
        "done_steps",
        "entry",
        "infer_seconds",
        "inputs",
        "length",
        "live",
        "model",
        "outputs",
        "owner",
        "run_entry",
        "run_key",
        "run_steps",
        "stage",
        "started_at",
        "submitted_at",
    )

    def __init__(
        self,
        model: Model,
        entry: str,
        inputs: Arrays,
        outputs: tuple[str, ...],
        *,
        length: int,
        now: float,
        max_batch: int,
        live: LiveSession | None = None,
        owner: str = "",
        constants: Constants = NO_CONSTANTS,
    ) -> None:
        self.model = model
        self.owner = owner if live is None else live.key.owner
        self.entry = entry
        self.inputs = inputs  # each [length, ...]
        self.outputs = outputs
        self.length = length  # steps
        self.live = live
        self.constants = constants.arrays if live is None else live.constants.arrays
        self._max_batch = max_batch
        shapes = tuple([array.shape[1:] for array in inputs.values()]) if entry in model.open_entries else ()
        fixed = constants.record if live is None else live.constants.record
        self._common_key = (model.model_id, model.version, entry, outputs, shapes, fixed)
        self._is_chunkable = length > 1 and entry == STEP and model.chunk_outputs.issuperset(outputs)
        self.stage = Stage.WAITING
        self.done_steps = 0
        self.collected: list[Arrays] = []  # the outputs of each run, with a time axis
        self._choose_run()
        self.submitted_at = now  # seconds, monotonic
        self.started_at = 0.0
        self.infer_seconds = 0.0

    @property
    def slot(self) -> int:
        """Where the state for the next run lies."""
        assert self.live is not None
        return self.live.slot

    @property
    def current_step(self) -> int:
        """The number of the step that is run; 0 where there are no numbers."""
        return 0

    @property
    def is_complete(self) -> bool:
        return self.done_steps == self.length

    def _choose_run(self) -> None:
        """Says what the next run is: as many steps at once as were checked, one if none were."""
        steps = self.model.chunk_size(self.length - self.done_steps) if self._is_chunkable else 1
        self.run_steps = steps
        self.run_entry = CHUNK if steps > 1 else self.entry
        self.run_key = chunk_key(steps) if steps > 1 else self.entry
        self.batch_key: Hashable = (self._common_key, steps)
        self.batch_limit = min(self.model.max_batch_of(self.run_key), self._max_batch)

    def limit_beside(self, rows: int) -> int:
        """As many as do not take longer than `BESIDE` times as long as so many rows."""
        if self.run_entry not in self.model.entries:  # nothing is run
            return self.batch_limit
        seconds = self.model.seconds_per_run(self.run_key, rows)
        return max(rows, self.model.rows_within(self.run_key, BESIDE * seconds))

    def go_step_by_step(self) -> None:
        """From here on one step a run, so that the one that fails is known by its number."""
        self._is_chunkable = False
        self._choose_run()

    def begin(self, now: float) -> None:
        """Notes that a run of it begins; `now` is in seconds, monotonic."""
        self.stage = Stage.RUNNING
        self.started_at = self.started_at or now

    def collect(self, outputs: Arrays, seconds: float) -> None:
        """Takes what the steps of one run gave, with a time axis, and the run's time."""
        self.collected.append(outputs)
        self.done_steps += self.run_steps
        self.infer_seconds += seconds
        if not self.is_complete:
            self._choose_run()

    def end(self, error: Exception) -> None:
        """Gives the error to whoever waits."""
        raise NotImplementedError


class StepWork(Work):
    """An accepted message of a session."""

    __slots__ = ("_abandon", "answer", "client_id", "message", "origin", "result", "scratch", "session", "span")

    def __init__(
        self,
        live: LiveSession,
        message: StepMessage,
        span: Span,
        *,
        origin: Attachment | None,
        client_id: str,
        now: float,
        max_batch: int,
        abandon: Callable[[Work, Exception], bool],
    ) -> None:
        super().__init__(
            live.model,
            message.entry if message.next_state is None else REWIND,
            message.inputs,
            message.outputs,
            length=message.length,
            now=now,
            max_batch=max_batch,
            live=live,
        )
        self.session = live
        self.message = message
        self.span = span
        self.origin = origin
        self.client_id = client_id
        self.scratch: int | None = None  # the slot of the state after the steps done
        self.result: Arrays = {}  # all outputs, each with a time axis, once complete
        self.answer: asyncio.Future[StepAnswer] = asyncio.get_running_loop().create_future()
        self._abandon = abandon

    @property
    def slot(self) -> int:
        return self.session.slot if self.scratch is None else self.scratch

    @property
    def current_step(self) -> int:
        return self.span.first_step + self.done_steps

    def abandon(self, error: Exception) -> bool:
        """Takes it out, unless its commit has begun; tells whether it did."""
        return self._abandon(self, error)

    def reply(self, answer: StepAnswer) -> None:
        """Gives the answer to whoever waits."""
        if not self.answer.done():
            self.answer.set_result(answer)
        if self.origin is not None:
            self.origin.on_settled()

    def end(self, error: Exception) -> None:
        _end(self.answer, error)
        if self.origin is not None:
            self.origin.on_settled()


class ReadWork(Work):
    """A question: it reads a session's state, or none, and changes nothing."""

    __slots__ = ("answer", "seen_step", "told")

    def __init__(
        self,
        model: Model,
        entry: str,
        inputs: Arrays,
        outputs: tuple[str, ...],
        *,
        now: float,
        max_batch: int,
        live: LiveSession | None = None,
        owner: str = "",
    ) -> None:
        super().__init__(model, entry, inputs, outputs, length=1, now=now, max_batch=max_batch, live=live, owner=owner)
        self.seen_step = 0
        self.told = 0
        self.answer: asyncio.Future[Asked] = asyncio.get_running_loop().create_future()

    def begin(self, now: float) -> None:
        """Notes which state is read: it is copied into the batch right after."""
        super().begin(now)
        if self.live is not None:
            self.seen_step = self.live.rules.committed_step
            self.told = self.live.told

    def end(self, error: Exception) -> None:
        _end(self.answer, error)


class StartWork(Work):
    """The beginning of a session that is not there yet: start inputs in, its first state out."""

    __slots__ = ("answer",)

    def __init__(
        self, model: Model, inputs: Arrays, constants: Constants, *, now: float, max_batch: int, owner: str
    ) -> None:
        super().__init__(
            model, START, inputs, (), length=1, now=now, max_batch=max_batch, owner=owner, constants=constants
        )
        self.answer: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()

    def end(self, error: Exception) -> None:
        _end(self.answer, error)


def _end(future: asyncio.Future[Answered], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # whoever waits still gets it; that nobody may wait is no fault

"""The engine: schedule -> stack -> run -> unstack -> commit -> reply.

One loop for every kind of model: it knows entries, never networks. Steps of different sessions share a run; while one
batch commits, the next one, of other sessions, runs. A run fails its own steps at most, never the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from .. import failpoints
from ..clock import Clock
from ..errors import ModelFailed, ModelNonFinite, TooLong
from ..hosting.model import Model
from ..sessions.messages import Arrays, Asked
from ..store.base import Store
from .admission import Limits
from .backlog import Backlog
from .commits import Committer
from .finite import non_finite_rows
from .intake import Intake
from .observer import Observer
from .pools import GrowingPool, Pool
from .rate import Rate
from .work import REWIND, ReadWork, Stage, StartWork, StepWork, Work

log = logging.getLogger(__name__)

# Of the event loop: a unary call comes in over about so many, and a turn without work takes microseconds.
QUIET_TURNS = 4
INLINE_SECONDS = 0.002  # a run predicted to take longer leaves the event loop for the compute thread


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """Counters since the start, and what waits at the moment."""

    committed_steps: int
    questions: int
    batches: int
    replayed_answers: int
    waiting_steps: int


class Engine:
    """Runs accepted work in batches."""

    def __init__(
        self,
        store: Store,
        observer: Observer,
        clock: Clock,
        limits: Limits,
        quota_of: Callable[[str], int] = lambda _owner: 0,
    ) -> None:
        """`quota_of` gives the most steps that an owner may have waiting; 0 is no bound."""
        rate = Rate(clock)
        self._observer = observer
        self._clock = clock
        self._backlog = Backlog()
        self._committer = Committer(self._backlog, store, rate, observer, clock)
        self._commits: set[asyncio.Task[None]] = set()
        self._compute = ThreadPoolExecutor(1, "tapehead-compute")
        self._batches = self._questions = 0
        self.intake = Intake(self._backlog, store, rate, observer, clock, limits, quota_of)

    def pool_of(self, model: Model) -> Pool | GrowingPool:
        """Where the states of a model's sessions lie."""
        return self._backlog.pool_of(model)

    def forget(self, model: Model) -> None:
        """Frees what a model took that is not served any more."""
        self._backlog.forget(model)

    def statistics(self) -> EngineStatistics:
        return EngineStatistics(
            committed_steps=self._committer.committed_steps,
            questions=self._questions,
            batches=self._batches,
            replayed_answers=self.intake.replayed_answers,
            waiting_steps=self._backlog.steps,
        )

    async def run(self) -> None:
        """Runs what waits, for ever; cancelled to stop."""
        while True:
            await self._backlog.wait_ready()
            await self._gather()
            batch = self._backlog.next_batch()
            if batch:
                await self._safe_turn(batch)

    async def _gather(self) -> None:
        """Lets in what is on its way, until nothing new has come for some turns of the loop, or a batch is full."""
        quiet = 0
        while quiet < QUIET_TURNS:
            known = self._backlog.accepted
            await asyncio.sleep(0)  # at least once: between two batches the loop has other things to do
            if self._backlog.has_full_batch():
                return
            quiet = quiet + 1 if self._backlog.accepted == known else 0

    async def wait_empty(self) -> None:
        """Returns when everything accepted is settled."""
        await self._backlog.wait_empty()

    def close(self) -> None:
        """Ends the compute thread."""
        self._compute.shutdown()

    async def _safe_turn(self, batch: Sequence[Work]) -> None:
        """A turn that fails for a reason nobody thought of fails its own work; the loop goes on."""
        try:
            await self._turn(batch)
        except Exception:
            log.exception("model %s, entry %s: a turn of the engine failed", batch[0].model.model_id, batch[0].entry)
            for work in batch:
                self._backlog.abandon(work, ModelFailed(work.model.model_id, work.current_step))

    async def _turn(self, batch: Sequence[Work]) -> None:
        batch = self._backlog.without_orphans(batch)
        if not batch:
            return
        started = self._clock.monotonic()
        for work in batch:
            work.begin(started)
        if batch[0].entry == REWIND:
            rewinds = [self._backlog.rewind(work) for work in batch if isinstance(work, StepWork)]
            self._commit(rewinds, self.pool_of(batch[0].model).stack([work.slot for work in rewinds]))
            return
        inputs, state = self._stack(batch)
        try:
            failpoints.hit("run.before")
            outputs, next_state = await self._run(batch[0], len(batch), inputs, state)
            failpoints.hit("run.after")
        except Exception:
            await self._find_culprit(batch)
            return
        seconds = self._clock.monotonic() - started
        self._batches += 1
        self._observer.batch_run(batch[0].model.model_id, batch[0].run_entry, len(batch), seconds)
        finished = self._unstack(batch, outputs, next_state, seconds)
        if finished:
            works = [work for work in (batch[row] for row in finished) if isinstance(work, StepWork)]
            self._commit(works, _chosen(next_state, finished, len(batch)))

    def _commit(self, finished: list[StepWork], states: Arrays) -> None:
        """Lets the commit go its way while the next batch, of other sessions, runs."""
        task = asyncio.create_task(self._committer.begin(finished, states))
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)

    def _stack(self, batch: Sequence[Work]) -> tuple[Arrays, Arrays]:
        first = batch[0]
        inputs = {name: _rows([_next_of(work, name) for work in batch], first.run_steps) for name in first.inputs}
        for spec in first.model.entries[first.run_entry].constants:
            value = first.constants[spec.name]  # as every work of the batch has it
            inputs[spec.name] = np.broadcast_to(value, (len(batch), *value.shape))
        if batch[0].live is None:
            return inputs, {}
        return inputs, self.pool_of(batch[0].model).stack([work.slot for work in batch])

    async def _run(self, work: Work, size: int, inputs: Arrays, state: Arrays) -> tuple[Arrays, Arrays]:
        run = work.model.runner.run
        if work.model.seconds_per_run(work.run_key, size) <= INLINE_SECONDS:
            return run(work.run_entry, inputs, state, work.outputs)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._compute, run, work.run_entry, inputs, state, work.outputs)

    async def _find_culprit(self, batch: Sequence[Work]) -> None:
        """Runs the rows of a failed batch one by one, so that only those that fail alone are failed."""
        if len(batch) == 1 and batch[0].run_steps > 1:
            self._retry_step_by_step(batch[0])
            return
        if len(batch) == 1:
            log.exception("model %s, entry %s: the run failed", batch[0].model.model_id, batch[0].entry)
            self._backlog.abandon(batch[0], ModelFailed(batch[0].model.model_id, batch[0].current_step))
            return
        for work in batch:
            if work.stage is Stage.RUNNING:
                await self._turn([work])

    def _unstack(self, batch: Sequence[Work], outputs: Arrays, next_state: Arrays, seconds: float) -> list[int]:
        """Gives each row its outputs and its next state; returns the rows of messages whose last step this was."""
        model, entry = batch[0].model, batch[0].model.entries[batch[0].run_entry]
        for row, tensor in non_finite_rows([*entry.outputs, *model.state], {**outputs, **next_state}).items():
            if batch[row].run_steps > 1:
                self._retry_step_by_step(batch[row])
            else:
                self._backlog.abandon(batch[row], ModelNonFinite(tensor, batch[row].current_step))
        if model.grows and next_state:
            self._refuse_outgrown(batch, next_state)
        rows = [row for row, work in enumerate(batch) if work.stage is Stage.RUNNING]  # those not taken out meanwhile
        steps = [work for work in (batch[row] for row in rows) if isinstance(work, StepWork)]
        if next_state and steps:
            states = _chosen(next_state, rows, len(batch))
            self.pool_of(model).unstack([self._backlog.scratch_of(work) for work in steps], states)
        if batch[0].run_steps == 1:
            outputs = {name: array[:, np.newaxis] for name, array in outputs.items()}
        finished = []
        for row in rows:
            work = batch[row]
            work.collect({name: array[row] for name, array in outputs.items()}, seconds)
            if not work.is_complete:
                self._backlog.schedule(work)
            elif isinstance(work, StepWork):
                finished.append(row)
            elif isinstance(work, ReadWork):
                self._answer(work)
            elif isinstance(work, StartWork):
                self._begin(work, {name: np.array(array[row]) for name, array in next_state.items()})
        return finished

    def _retry_step_by_step(self, work: Work) -> None:
        """A chunk that failed goes again from where it was, one step a run: its error names the step."""
        if work.stage is Stage.RUNNING:
            work.go_step_by_step()
            self._backlog.schedule(work)

    def _refuse_outgrown(self, batch: Sequence[Work], next_state: Arrays) -> None:
        for tensor in (tensor for tensor in batch[0].model.state if tensor.name in next_state):
            outgrown = tensor.too_long(next_state[tensor.name].shape[1:])
            for work in batch if outgrown else ():
                assert outgrown
                self._backlog.abandon(work, TooLong(f"elements along an axis of the state '{tensor.name}'", *outgrown))

    def _begin(self, work: StartWork, state: Arrays) -> None:
        self._backlog.settle(work)
        if not work.answer.done():
            work.answer.set_result(state)

    def _answer(self, work: ReadWork) -> None:
        self._backlog.settle(work)
        self._questions += 1
        self._observer.question_done(work.model.model_id, work.started_at - work.submitted_at, work.infer_seconds)
        if not work.answer.done():
            outputs = {name: array[0] for name, array in work.collected[0].items()}
            work.answer.set_result(Asked(outputs, work.seen_step, work.told))


def _next_of(work: Work, name: str) -> np.ndarray:
    """What the next run takes of an input, [steps, ...]."""
    if work.run_steps == work.length:
        return work.inputs[name]
    return work.inputs[name][work.done_steps : work.done_steps + work.run_steps]


def _rows(parts: Sequence[np.ndarray], steps: int) -> np.ndarray:
    """The parts [steps, ...] below one another: [rows, steps, ...], or [rows, ...] of a single step."""
    joined = np.concatenate(parts)
    return joined if steps == 1 else joined.reshape(len(parts), steps, *joined.shape[1:])


def _chosen(batch: Arrays, rows: Sequence[int], size: int) -> Arrays:
    """Some rows of a batch of that size; all of them without a copy."""
    return batch if len(rows) == size else {name: array[rows] for name, array in batch.items()}

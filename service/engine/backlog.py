"""What has been accepted and is not settled: the only place that counts it, queues it and takes it out again."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from ..errors import StepGap
from ..hosting.model import Model
from ..sessions.live import GoAgain, LiveSession
from .pools import GrowingPool, Pool
from .scheduler import Scheduler
from .work import Stage, StepWork, Work


class Backlog:
    """Accepted work, and the slots that it uses."""

    def __init__(self) -> None:
        self._scheduler: Scheduler[Work] = Scheduler()
        self._pools: dict[tuple[str, int, str], Pool | GrowingPool] = {}
        self._ready = asyncio.Event()  # something waits for its turn
        self._empty = asyncio.Event()  # everything accepted is settled
        self._empty.set()
        self.accepted = 0  # messages and reads since the start
        self.steps = 0  # accepted and not settled
        self._steps_of: defaultdict[str, int] = defaultdict(int)  # by owner; none is 0

    def __repr__(self) -> str:
        return f"<Backlog: {self.steps} steps | {self._scheduler!r}>"

    def pool_of(self, model: Model) -> Pool | GrowingPool:
        """Where the states of a model's sessions lie."""
        key = (model.model_id, model.version, model.fingerprint)  # unloaded, it may come back as another
        if key not in self._pools:
            self._pools[key] = GrowingPool(model.state) if model.grows else Pool(model.state)
        return self._pools[key]

    def forget(self, model: Model) -> None:
        """Frees the states' place of a model that is not served any more, unless a commit still has a part of it."""
        key = (model.model_id, model.version, model.fingerprint)
        if key in self._pools and not len(self._pools[key]):
            del self._pools[key]

    def steps_of(self, owner: str) -> int:
        """How many of the steps are one owner's."""
        return self._steps_of.get(owner, 0)

    async def wait_ready(self) -> None:
        """Returns when something waits for its turn."""
        await self._ready.wait()

    async def wait_empty(self) -> None:
        """Returns when everything accepted is settled."""
        await self._empty.wait()

    def add(self, work: Work) -> None:
        """Counts new work. It must be scheduled when its session has nothing older."""
        self.accepted += 1
        self.steps += work.length
        self._steps_of[work.owner] += work.length
        self._empty.clear()

    def schedule(self, work: Work) -> None:
        """Lets work wait for its turn, or for its chunk's next one."""
        work.stage = Stage.WAITING
        self._scheduler.add(work)
        self._ready.set()

    def schedule_next(self, session: LiveSession) -> None:
        """Lets a session's oldest work wait for its turn, if there is any."""
        if session.works:
            work = session.works[0]
            assert isinstance(work, StepWork)
            self.schedule(work)

    def has_full_batch(self) -> bool:
        """Whether what runs next is as much as may run together."""
        return self._scheduler.has_full_batch()

    def next_batch(self) -> list[Work]:
        """Takes out what runs next."""
        batch = self._scheduler.next_batch()
        if not batch:
            self._ready.clear()
        return batch

    def without_orphans(self, batch: Sequence[Work]) -> list[Work]:
        """Takes out questions whose session has left memory: its slot may be another's by now."""
        for work in batch:
            if work.live is not None and work.live.is_gone:
                self.abandon(work, GoAgain())
        return [work for work in batch if work.stage is not Stage.SETTLED]

    def scratch_of(self, work: StepWork) -> int:
        """The slot for the state after a step, other than the session's own."""
        if work.scratch is None:
            work.scratch = work.session.slots.take()
        return work.scratch

    def rewind(self, work: StepWork) -> StepWork:
        """Completes a rewind, whose next state came with its message."""
        assert work.message.next_state is not None
        work.session.slots.write(self.scratch_of(work), work.message.next_state)
        work.collect({}, 0.0)
        return work

    def settle(self, work: Work) -> None:
        """Takes out work whose outcome is known, with its scratch slot."""
        work.stage = Stage.SETTLED
        if isinstance(work, StepWork) and work.scratch is not None:
            work.session.slots.free(work.scratch)
            work.scratch = None
        self.steps -= work.length
        self._steps_of[work.owner] -= work.length
        if not self._steps_of[work.owner]:
            del self._steps_of[work.owner]
        if not self.steps:
            self._empty.set()

    def fail(self, work: Work, error: Exception) -> None:
        """Takes out work that failed. Its number is the next again, so what was pipelined behind it leaves a gap."""
        if isinstance(work, StepWork):
            for behind in self._take_out(work):
                self._end(behind, StepGap(behind.span.first_step, work.span.first_step))
        self._end(work, error)

    def abandon(self, work: Work, error: Exception) -> bool:
        """Fails work unless its commit has begun; tells whether it did."""
        if work.stage in (Stage.COMMITTING, Stage.SETTLED):
            return False
        self.fail(work, error)
        return True

    def _take_out(self, work: StepWork) -> list[StepWork]:
        session = work.session
        session.rules.fail(work.span)
        behind = []
        while (last := session.works.pop()) is not work:
            assert isinstance(last, StepWork)
            behind.append(last)
        return behind[::-1]

    def _end(self, work: Work, error: Exception) -> None:
        self._scheduler.remove(work)
        self.settle(work)
        work.end(error)

"""Tries of what must be refused, while servers die: repeats, other inputs, gaps, old streams, ghosts, stale copies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from functools import partial
from typing import Any

import numpy as np

import tapehead
from tapehead import errors
from tapehead.aio import Client

from .history import OUTPUTS, History
from .workload import MOST_SESSIONS, STUCK_SECONDS, Act, Violation, Worker, copy_rows, passes


class Prober(Worker):
    """A worker that also asks for what it must not get."""

    GIVEN_UP = ("old stream", "ghost")

    def acts(self) -> list[Act]:
        return [
            *super().acts(),
            (5, "repeat", self._probe_repeat),
            (5, "mismatch", self._probe_mismatch),
            (3, "gap", self._probe_gap),
            (6, "old stream", self._probe_old_stream),
            (4, "ghost", self._probe_ghost),
            (6, "stale copy", self._probe_stale_copy),
        ]

    async def _single(self, history: History) -> np.ndarray:
        row = copy_rows(self._chance)[0]
        step = history.last_step + 1
        history.events.append(row)
        await self._settled("single", lambda: self._take(history, step, row))
        return row

    async def _probe_repeat(self, history: History) -> None:
        row = await self._single(history)
        await self._settled("repeat", lambda: self._take(history, history.last_step, row))

    async def _probe_mismatch(self, history: History) -> None:
        row = await self._single(history)
        await self._settled("mismatch", lambda: self._other_input(self._client(), history, 1.0 - row))

    async def _other_input(self, client: Client, history: History, row: np.ndarray) -> None:
        try:
            await self._raw_step(history, history.last_step, row, client=client)
        except errors.StepPayloadMismatch:
            return
        raise Violation(f"{history}: another input under step {history.last_step} got an answer")

    async def _probe_gap(self, history: History) -> None:
        try:
            await self._raw_step(history, history.last_step + 4, copy_rows(self._chance)[0])
        except errors.StepGap as gap:
            expected = int(gap.metadata["expected_step"])
            self._check(expected == history.last_step + 1, f"{history}: a gap expects {expected}")
            return
        raise Violation(f"{history}: a step ahead of the next got an answer")

    async def _probe_old_stream(self, history: History) -> None:
        """A stream that was opened before another one must not write, unless it is itself opened again."""
        row = copy_rows(self._chance)[0]
        one, two = self._client(), self._client()
        result = None
        async with (
            one.session(create=False, session_id=history.session_id, outputs=OUTPUTS) as old,
            two.session(create=False, session_id=history.session_id, outputs=OUTPUTS) as new,
        ):
            newer = new.info.epoch
            try:
                result = await self._once(old.step(row))
            except errors.TapeheadError as error:
                if not passes(error):
                    raise
            epoch = old.info.epoch  # it is the newer one if its server died and it came back by itself
        # An open fences whatever is still on its way, so that what it reports is final.
        last = await self._settled("open", lambda: self._fenced(history))
        wrote = f"{history}: a stream of epoch {epoch} wrote step {last} after epoch {newer} was opened"
        if last == history.last_step + 1:
            self._check(epoch > newer, wrote)
            history.events.append(row)
            if result is not None:
                self._note(history, result)
            return
        self._check(last == history.last_step and result is None, wrote)

    async def _fenced(self, history: History) -> int:
        async with self._client().session(create=False, session_id=history.session_id) as session:
            return session.info.committed_step

    async def _probe_ghost(self, history: History) -> None:
        """A stream of a deleted session must not write into the next one, which is at the same epoch and step."""
        ghost = await self._create()
        one, two = self._client(), self._client()
        async with one.session(create=False, session_id=ghost.session_id, outputs=OUTPUTS) as old:
            epoch = old.info.epoch
            await self._settled("delete", lambda: self._gone(two, ghost))
            after = await self._create(ghost.session_id)
            self._live.append(after)
            for _ in range(epoch):
                token = tapehead.ResumeToken(after.session_id, after.incarnation, 0, "")
                async with two.session(resume=token, outputs=OUTPUTS):
                    pass
            try:
                await self._once(old.step(copy_rows(self._chance)[0]))
            except errors.TapeheadError:
                if len(self._live) > MOST_SESSIONS:
                    self._live.remove(after)
                return
        raise Violation(f"{ghost}: a stream of a deleted session wrote into the next one under its id")

    async def _gone(self, client: Client, history: History) -> None:
        with contextlib.suppress(errors.NotFound):
            await client.sessions.delete(history.session_id, incarnation=history.incarnation)
        history.is_deleted = True

    async def _probe_stale_copy(self, history: History) -> None:
        """A copy that another replica has moved past is not answered from."""
        one, two = self._client(), self._client()
        await self._single(history)
        for client in (one, two):
            row = copy_rows(self._chance)[0]
            step = history.last_step + 1
            history.events.append(row)
            await self._settled("single", partial(self._taken_by, client, history, step, row))
        await self._settled("mismatch", lambda: self._other_input(one, history, 1.0 - row))

    async def _taken_by(self, client: Client, history: History, step: int, row: np.ndarray) -> None:
        self._note(history, await self._raw_step(history, step, row, client=client))

    async def _once(self, call: Coroutine[Any, Any, Any]) -> Any:
        async with asyncio.timeout(STUCK_SECONDS):
            return await call

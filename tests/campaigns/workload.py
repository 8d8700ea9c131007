"""What clients do while servers die: every way to step a session. `probes` adds what must be refused.

Each worker owns its sessions, so that what they should hold is known; it asks any replica at any time. What fails in a
way that a dying server explains is done again until it is settled. Anything else is a violation.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import grpc
import numpy as np

import tapehead
from tapehead import errors
from tapehead.aio import Client
from tapehead.opening import create_request
from tapehead.status import from_rpc_error
from tapehead.tensors import to_message
from tapehead.v1.session_service_pb2 import StepRequest

from .history import OUTPUTS, History, Rewind

MODEL = "ntm-copy"
WINDOW = 16
ABANDONED = "left/"  # how the names of sessions begin that nobody uses again
KEEP_EVERY, KEEP_MOST = 10, 3
STUCK_SECONDS = 240.0  # of one operation, after which it counts as hanging; servers die and start meanwhile
TRIED_STUCK_SECONDS = 4 * STUCK_SECONDS  # of one that has several parts, each of which is to be settled
MOST_SESSIONS = 3  # of one worker at a time

# What a server that dies, drains, loses its store or was armed to fail may answer; the step is settled by a repeat.
_PASSING = (
    errors.ServerUnreachable,
    errors.Draining,
    errors.StoreUnavailable,
    errors.OutcomeUnknown,
    errors.StateConflict,
    errors.SessionTakenOver,
    errors.Exhausted,
    errors.DeadlineExceeded,
    errors.SessionClosed,
)
_PASSING_CODES = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)


class Violation(Exception):
    """A promise was broken."""


def passes(error: Exception) -> bool:
    """Whether an error is one that a dying server explains."""
    if isinstance(error, _PASSING):
        return True
    return isinstance(error, errors.TapeheadError) and error.code in _PASSING_CODES


def copy_rows(chance: random.Random) -> np.ndarray:
    """One sequence of the copy task, [steps, 9]."""
    length = chance.randrange(2, 8)
    rows = np.zeros((2 * length + 1, 9), np.float32)
    rows[:length, :8] = np.random.default_rng(chance.randrange(2**32)).integers(0, 2, (length, 8))
    rows[length, 8] = 1.0
    return rows


Act = tuple[int, str, Callable[[History], Coroutine[Any, Any, None]]]


class Worker:
    """One program with a few sessions of its own."""

    GIVEN_UP: tuple[str, ...] = ()  # operations that leave nothing to settle where a dying server interrupts them

    def __init__(
        self, name: str, clients: list[Client], seed: str, over: asyncio.Event, only: tuple[str, ...] = ()
    ) -> None:
        """`only` names the operations that are done; all if there are none."""
        self._name = name
        self._only = only
        self._clients = clients
        self._chance = random.Random(seed)
        self._over = over
        self._created = 0
        self._live: list[History] = []
        self.histories: list[History] = []
        self.violations: list[str] = []
        self.counts: dict[str, int] = {}  # operations done

    async def run(self) -> None:
        """Works until told that it is over, or until it has seen a violation."""
        try:
            self._live.append(await self._settled("create", self._create))
            while not self._over.is_set():
                await self._one()
                await asyncio.sleep(self._chance.random() * 0.02)
        except Violation as violation:
            self.violations.append(str(violation))

    async def _one(self) -> None:
        history = self._chance.choice(self._live)
        acts = self.acts()
        acts = [act for act in acts if act[1] in self._only or not self._only]
        weights = [weight for weight, _, _ in acts]
        _, name, act = self._chance.choices(acts, weights)[0]
        if name in self.GIVEN_UP:
            await self._tried(name, act, history)
        else:
            await self._settled(name, lambda: act(history))
        self.counts[name] = self.counts.get(name, 0) + 1

    async def _tried(self, name: str, act: Callable[[History], Coroutine[Any, Any, None]], history: History) -> None:
        """Does it once: it has many parts, and on a busy machine servers may die faster than all of them are done."""
        try:
            async with asyncio.timeout(TRIED_STUCK_SECONDS):
                await act(history)
        except errors.TapeheadError as error:
            if not passes(error):
                raise Violation(f"{self._name}, {name}: {type(error).__name__}: {error}") from error
        except TimeoutError:
            raise Violation(f"{self._name}, {name}: not done after {TRIED_STUCK_SECONDS} s") from None

    def acts(self) -> list[Act]:
        """What it does, each with its weight and its name."""
        return [
            (30, "stream", self._stream),
            (20, "unary", self._unary),
            (8, "rewind", self._rewind),
            (6, "fork", self._fork),
            (6, "delete", self._delete),
            (2, "abandon", self._abandon),
        ]

    async def _settled(self, name: str, act: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Does it again until it is settled."""
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                while True:
                    try:
                        return await act()
                    except errors.TapeheadError as error:
                        if not passes(error):
                            raise Violation(f"{self._name}, {name}: {type(error).__name__}: {error}") from error
                    await asyncio.sleep(self._chance.random() * 0.05)
        except TimeoutError:
            raise Violation(f"{self._name}, {name}: not settled after {STUCK_SECONDS} s") from None

    def _client(self) -> Client:
        return self._chance.choice(self._clients)

    # --- creating and ending ------------------------------------------------------------------------------------------

    async def _create(self, session_id: str = "") -> History:
        self._created += 1
        history = History(session_id or f"{self._name}/{self._created}")
        await self._born(history)
        return history

    async def _born(self, history: History, **more: Any) -> None:
        request = create_request(
            MODEL, history.session_id, window=WINDOW, keep_every=KEEP_EVERY, keep_most=KEEP_MOST, **more
        )
        info = await self._settled("create", lambda: self._client().sessions.create(request))
        history.incarnation = info.incarnation
        self._check(info.committed_step == 0, f"{history} was created at step {info.committed_step}")
        self.histories.append(history)

    async def _delete(self, history: History) -> None:
        """Deletes; sometimes another session takes the id, and a late step must not reach it."""
        try:
            last = await self._client().sessions.delete(history.session_id, incarnation=history.incarnation)
            self._check(last == history.last_step, f"{history} was deleted at step {last}, not {history.last_step}")
        except errors.NotFound:
            pass  # an earlier try had reached the store
        history.is_deleted = True
        self._live.remove(history)
        if self._chance.random() < 0.7 or not self._live:
            self._live.append(await self._create(history.session_id))
            await self._settled("late", lambda: self._late(history))

    async def _late(self, history: History) -> None:
        row = copy_rows(self._chance)[:1]
        try:
            await self._raw_step(history, history.last_step + 1, row)
        except (errors.SessionReplaced, errors.NotFound):
            return
        raise Violation(f"{history}: a late step reached a session that was deleted, or the next one under its id")

    async def _abandon(self, _: History) -> None:
        """A session that nobody will use again: it expires at some later start of a server."""
        self._created += 1
        request = create_request(MODEL, f"{ABANDONED}{self._name}/{self._created}", ttl=1.0, window=WINDOW)
        with contextlib.suppress(errors.SessionExpired):  # the answer was lost, and the repeat came too late
            info = await self._client().sessions.create(request)
            self._check(info.committed_step == 0, "a new session is not at step 0")

    async def _fork(self, history: History) -> None:
        if len(self._live) >= MOST_SESSIONS:
            return
        info = await self._client().sessions.get(history.session_id, incarnation=history.incarnation)
        step = self._chance.choice([at for at in info.kept_steps if at >= history.origin] or [history.last_step])
        self._created += 1
        name = f"{self._name}/{self._created}/fork"
        fork = History(name, parent=history, origin=step)
        client = self._client()
        made = await self._settled(
            "fork",
            lambda: _forked(client, history, step, name),
        )
        self._check(made.committed_step == step, f"a fork of {history} at {step} is at {made.committed_step}")
        fork.incarnation = made.incarnation
        self.histories.append(fork)
        self._live.append(fork)

    # --- steps --------------------------------------------------------------------------------------------------------

    async def _stream(self, history: History) -> None:
        """Single steps, pipelined steps or chunks. What is not answered is given again, message by message."""
        rows, style = copy_rows(self._chance), self._chance.choice(("single", "pipelined", "chunked"))
        messages = np.array_split(rows, self._chance.randrange(1, 4)) if style == "chunked" else list(rows)
        first, done = history.last_step + 1, 0
        history.events.extend(rows)

        def step_of(message: int) -> int:
            return first + sum(len(given) if given.ndim == 2 else 1 for given in messages[:message])

        def take(result: tapehead.StepResult) -> None:
            nonlocal done
            got, expected = (result.step, result.last_step + 1), (step_of(done), step_of(done + 1))
            self._check(
                got == expected, f"{history}: after {done} answers came that of the steps {got}, not {expected}"
            )
            self._note(history, result)
            done += 1

        async def go_on() -> None:
            step = step_of(done)
            token = tapehead.ResumeToken(history.session_id, history.incarnation, step - 1, "")
            async with self._client().session(resume=token, outputs=OUTPUTS) as session:
                if style == "single":
                    for message in messages[done:]:
                        take(await session.step(message))
                    return
                async for result in session.stream(messages[done:], chunked=style == "chunked"):
                    take(result)

        await self._settled(style, go_on)

    async def _unary(self, history: History) -> None:
        """Steps and chunks by unary calls, some cancelled, some with no time, some never waited for."""
        rows = copy_rows(self._chance)
        rows = rows[: self._chance.choice((1, 1, 2, 5))]
        count = len(rows) if self._chance.random() < 0.5 else 0
        for part in [rows] if count else [row[np.newaxis] for row in rows]:
            await self._unary_step(history, part if count else part[0])

    async def _unary_step(self, history: History, row: np.ndarray) -> None:
        step = history.last_step + 1
        history.events.extend(row if row.ndim == 2 else [row])
        try:
            match self._chance.randrange(4):
                case 0:
                    await self._raw_step(history, step, row, seconds=self._chance.random() * 0.006)
                case 1:
                    call = asyncio.create_task(self._raw_step(history, step, row))
                    await asyncio.sleep(self._chance.random() * 0.004)
                    call.cancel()
                    await asyncio.gather(call, return_exceptions=True)
                case _:
                    await self._take(history, step, row)
                    return
        except errors.TapeheadError as error:
            if not passes(error):
                raise
            if isinstance(error, errors.OutcomeUnknown) and await self._was_committed(history, step):
                return  # another step follows at once; this one's answer is compared at the end
        await self._settled("unary", lambda: self._take(history, step, row))

    async def _was_committed(self, history: History, step: int) -> bool:
        info = await self._settled(
            "look", lambda: self._client().sessions.get(history.session_id, incarnation=history.incarnation)
        )
        return bool(info.committed_step >= step)

    async def _take(self, history: History, step: int, row: np.ndarray) -> None:
        result = await self._raw_step(history, step, row)
        got, expected = (result.step, result.step_count), (step, len(row) if row.ndim == 2 else 0)
        self._check(got == expected, f"{history}: asked for {expected[1]} steps from {expected[0]}, got {got}")
        self._note(history, result)

    async def _rewind(self, history: History) -> None:
        info = await self._client().sessions.get(history.session_id, incarnation=history.incarnation)
        self._check(
            info.committed_step == history.last_step,
            f"{history} is at step {info.committed_step}, not {history.last_step}",
        )
        able = [step for step in info.kept_steps if step == 0 or step >= history.origin]
        to_step, step = self._chance.choice(able), history.last_step + 1
        history.events.append(Rewind(to_step))
        await self._settled(
            "rewind",
            lambda: self._client().sessions.rewind(history.session_id, step, to_step, incarnation=history.incarnation),
        )

    # --- the parts ----------------------------------------------------------------------------------------------------

    async def _raw_step(
        self,
        history: History,
        step: int,
        row: np.ndarray,
        *,
        seconds: float = 30.0,
        client: Client | None = None,
    ) -> tapehead.StepResult:
        """A unary step as it stands on the wire: sent once, its answer not compared with its input."""
        client = client or self._client()
        request = StepRequest(
            session_id=history.session_id,
            incarnation=history.incarnation,
            step=step,
            step_count=len(row) if row.ndim == 2 else 0,
            inputs=[to_message("x", row)],
            outputs=OUTPUTS,
            client_id=self._name,
        )
        try:
            answer = await client.connection.sessions.Step(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, client.connection.server) from None
        return tapehead.StepResult.from_message(answer.result)

    def _note(self, history: History, result: tapehead.StepResult) -> None:
        for wrong in history.answered(result):
            raise Violation(wrong)

    def _check(self, is_so: bool, otherwise: str) -> None:
        if not is_so:
            raise Violation(otherwise)


async def _forked(client: Client, history: History, step: int, name: str) -> tapehead.SessionInfo:
    """A fork whose first try may have reached the store: then what lies there is it."""
    try:
        return await client.sessions.fork(
            history.session_id, step=step, new_session_id=name, incarnation=history.incarnation
        )
    except errors.SessionExists:
        return await client.sessions.get(name)


def total(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    summed: dict[str, int] = {}
    for count in counts:
        for name, number in count.items():
            summed[name] = summed.get(name, 0) + number
    return dict(sorted(summed.items()))

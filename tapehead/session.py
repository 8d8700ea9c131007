"""A session as asyncio programs use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from tapehead.errors import SessionClosed
from tapehead.hashing import step_hash
from tapehead.opening import Opening
from tapehead.results import StepResult
from tapehead.resume_token import ResumeToken
from tapehead.signature import Signature, length
from tapehead.standing import Standing
from tapehead.streaming import StepStream
from tapehead.tensors import to_message
from tapehead.v1.tensor_pb2 import Tensor

if TYPE_CHECKING:
    from tapehead.aio import Client


@dataclass(frozen=True, slots=True)
class _Step:
    """A step or chunk in the form of the wire, without its number."""

    step_count: int
    tensors: Sequence[Tensor]
    outputs: Sequence[str]
    input_hash: bytes

    @property
    def steps(self) -> int:
        return max(1, self.step_count)


@dataclass(slots=True)
class _WaitsForToken:
    """In the queue between what `stream` sends and what it yields: only a newer saved token makes room for `steps`."""

    steps: int
    is_over: bool = False


class Session(Standing):
    """A model's memory that belongs to its caller, over a stream that mends itself.

    Made by `Client.session` and used as `async with`. Every answer comes once and in order, whatever breaks between
    here and the server; what cannot be mended is raised by the step that hits it.
    """

    def __init__(self, client: Client, opening: Opening) -> None:
        super().__init__(StepStream(client.connection, opening))
        self._client = client
        self._opening = opening
        self._signature: Signature | None = None
        self._handed_step = 0  # the last step whose answer the application was handed

    async def __aenter__(self) -> Session:
        if self._opening.start or self._opening.constants:
            create = self._opening.create
            if create is not None:
                self._opening.complete(await self._client.signature(create.model_id, create.model_version))
        try:
            await self.steps.open()
            info = self.info
            self._signature = await self._client.signature(info.model_id, info.model_version)
        except BaseException:
            await self.close()
            raise
        self._client.opened(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._handed_step = 0  # what was handed over last may be what could not be done with
        await self.close()

    async def close(self) -> None:
        """Ends the stream. The session itself lives on in the server's store."""
        self._client.closed(self)
        self._settle()
        try:
            await self.steps.close()
        finally:
            if self._opening.file is not None:
                self._opening.file.close()

    # --- steps --------------------------------------------------------------------------------------------------------

    async def step(self, inputs: object = None, *, outputs: Sequence[str] = ()) -> StepResult:
        """Takes one step.

        `inputs` is what numpy can turn into the model's step input, or a dict of that by input name where there are
        several, or nothing where there is none. `outputs` names the outputs wanted (inspection outputs too); the
        session's, or the model's plain ones, if empty. A server without room for the step is waited for; after the
        client's `reconnect_timeout` OverCapacity is raised. A step that raises changed nothing, unless the error is
        OutcomeUnknown or SessionClosed; the next step then has the same number. A cancelled step may have been taken,
        and its answer is dropped.
        """
        return await self._take(self._prepare(inputs, False, outputs))

    async def chunk(self, inputs: object, *, outputs: Sequence[str] = ()) -> StepResult:
        """Takes as many steps as the inputs' leading axis is long, in one message and one commit.

        Of a model whose steps have no inputs, `inputs` is the number of steps.
        """
        return await self._take(self._prepare(inputs, True, outputs))

    async def stream(
        self,
        inputs: Iterable[object] | AsyncIterable[object],
        *,
        outputs: Sequence[str] = (),
        chunked: bool = False,
    ) -> AsyncIterator[StepResult]:
        """Takes a step (or, `chunked`, a chunk) for each element, a window's worth ahead of what was answered.

        Yields every answer once, in order. What was sent ahead has been taken even where the caller stops early.
        Where a step is refused, the answers before it come first, then its error; `next_step` is its number. A server
        without room is waited for as by `step`.
        """
        self._settle()
        ahead: asyncio.Queue[object] = asyncio.Queue(max(1, self.steps.log.window))
        feeder = asyncio.create_task(self._feed(inputs, ahead, chunked, outputs), name="tapehead-feeder")
        try:
            while (item := await ahead.get()) is not None:
                if isinstance(item, _WaitsForToken):
                    if not item.is_over and not self.steps.log.has_room(item.steps):
                        raise self.steps.log.window_error()
                elif isinstance(item, asyncio.Future):
                    result = await self._answer(item)
                    self.steps.is_at_work = True
                    yield result
                    self._settle()
                else:
                    assert isinstance(item, BaseException)
                    raise item
        finally:
            feeder.cancel()
            await asyncio.wait([feeder])

    async def missed(self) -> list[StepResult]:
        """The answers of steps that were committed but whose answers a resumed application never received.

        Taking them means that their inputs are not given again: the next step follows them. An application that gives
        the inputs again instead gets the same answers from `step`, each compared with its input.
        """
        answers = await self.steps.earlier_answers() + await self.steps.stored_answers()
        if answers:
            self.steps.log.delivered(answers[-1].last_step)
            self._handed_step = answers[-1].last_step
        return answers

    async def _feed(
        self,
        inputs: Iterable[object] | AsyncIterable[object],
        ahead: asyncio.Queue[object],
        chunked: bool,
        outputs: Sequence[str],
    ) -> None:
        given_up_count = self.steps.log.given_up_count
        try:
            async for element in _each(inputs):
                step = self._prepare(element, chunked, outputs)
                wait = _WaitsForToken(step.steps)
                if (
                    self._opening.file is None
                    and self.steps.log.durable_token
                    and not self.steps.log.has_room(step.steps)
                ):
                    await ahead.put(wait)
                answer = await self._submit(step, True, given_up_count)
                wait.is_over = True
                await ahead.put(answer)
            await ahead.put(None)
        except Exception as error:
            await ahead.put(error)

    def _prepare(self, inputs: object, is_chunk: bool, outputs: Sequence[str]) -> _Step:
        if self._signature is None:
            raise SessionClosed("the session is not open: use it in a `with` block")
        is_count = is_chunk and isinstance(inputs, int) and not self._signature.dtypes
        arrays = self._signature.arrays(None if is_count else inputs)
        step_count = (int(inputs) if is_count else length(arrays)) if is_chunk else 0  # type: ignore[call-overload]
        digest = step_hash(step_count, arrays, outputs or self._opening.outputs)
        return _Step(step_count, [to_message(name, array) for name, array in arrays.items()], outputs, digest)

    async def _take(self, step: _Step) -> StepResult:
        self._settle()
        return await self._answer(await self._submit(step, False, self.steps.log.given_up_count))

    async def _submit(self, step: _Step, wait: bool, given_up_count: int) -> asyncio.Future[StepResult]:
        return await self.steps.submit(
            step.step_count, step.tensors, step.outputs, step.input_hash, wait=wait, given_up_count=given_up_count
        )

    async def _answer(self, future: asyncio.Future[StepResult]) -> StepResult:
        result = await future
        self._settle()
        self.steps.log.delivered(result.last_step)
        self._handed_step = result.last_step
        self.steps.notify()
        return result

    def _settle(self) -> None:
        """The application has come back, so it has done with what it was handed before."""
        self.steps.is_at_work = False
        if self._handed_step:
            self.steps.settle_delivered(self._handed_step)

    def saved(self, token: ResumeToken) -> None:
        """Tells a session opened with `durable_token` that `token` now lies where it survives this process."""
        self.steps.log.saved(token)
        self.steps.notify()


async def _each(inputs: Iterable[object] | AsyncIterable[object]) -> AsyncIterator[object]:
    if isinstance(inputs, AsyncIterable):
        async for element in inputs:
            yield element
    else:
        for element in inputs:
            yield element

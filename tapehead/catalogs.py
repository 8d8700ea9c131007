"""What a server has: its sessions and its models."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from tapehead.connection import Connection
from tapehead.errors import NotFound, SessionReplaced
from tapehead.results import ModelInfo, SessionInfo, State, durability_number
from tapehead.v1 import model_service_pb2, portable_pb2, session_pb2, session_service_pb2

PAGE = 100  # entries a call
PIECE_BYTES = 1 << 20  # of a file, in one message
KNOWN = 10_000  # incarnations that are remembered

_STATES = {"attached": session_pb2.Session.STATE_ATTACHED, "parked": session_pb2.Session.STATE_PARKED}


class Sessions:
    """The caller's sessions. `client_id` names the caller as the writer of what it writes."""

    def __init__(self, connection: Connection, client_id: str) -> None:
        self._connection = connection
        self._client_id = client_id
        self._incarnations: OrderedDict[str, str] = OrderedDict()  # that this client means by an id; oldest first

    @asynccontextmanager
    async def meant(self, session_id: str, incarnation: str) -> AsyncIterator[str]:
        """The incarnation to name in a call that is repeated by itself: the one given, else the one that this client
        knows or asks for. So a late repeat never reaches another session that has taken the id.

        An incarnation that turns out to be gone is forgotten: whoever calls again means what is there then.
        """
        known = incarnation or self._incarnations.get(session_id) or (await self.get(session_id)).incarnation
        try:
            yield known
        except (NotFound, SessionReplaced):
            if self._incarnations.get(session_id) == known:
                del self._incarnations[session_id]
            raise

    def _know(self, message: session_pb2.Session) -> SessionInfo:
        self._incarnations.pop(message.session_id, None)
        self._incarnations[message.session_id] = message.incarnation
        if len(self._incarnations) > KNOWN:
            self._incarnations.popitem(last=False)
        return SessionInfo.from_message(message)

    async def list(
        self,
        *,
        model_id: str = "",
        labels: Mapping[str, str] | None = None,
        state: str | None = None,
        all_owners: bool = False,
    ) -> list[SessionInfo]:
        """Every session, or those of a model, with all of these labels, in this state (attached, parked).

        An operator may ask for those of all owners.
        """
        found = self.iterate(model_id=model_id, labels=labels, state=state, all_owners=all_owners)
        return [info async for info in found]

    async def iterate(
        self,
        *,
        model_id: str = "",
        labels: Mapping[str, str] | None = None,
        state: str | None = None,
        all_owners: bool = False,
    ) -> AsyncIterator[SessionInfo]:
        """As `list`, a page at a time, in the order of the ids."""
        if state is not None and state not in _STATES:
            raise ValueError(f"state: expected {' or '.join(_STATES)}, got '{state}'")
        request = session_service_pb2.ListSessionsRequest(
            page_size=PAGE,
            model_id=model_id,
            labels=labels,
            state=_STATES[state] if state else None,
            all_owners=all_owners,
        )
        method, answer = self._connection.sessions.ListSessions, session_service_pb2.ListSessionsResponse
        while True:
            page = await self._connection.call(method, request, answer)
            for message in page.sessions:
                yield SessionInfo.from_message(message)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def get(self, session_id: str, *, incarnation: str = "", minimum_step: int = 0) -> SessionInfo:
        """What the store knows of a session; raises StepGap if it has not reached `minimum_step`."""
        request = session_service_pb2.GetSessionRequest(
            session_id=session_id, incarnation=incarnation, minimum_step=minimum_step
        )
        method, answer = self._connection.sessions.GetSession, session_service_pb2.GetSessionResponse
        return self._know((await self._connection.call(method, request, answer, session_id=session_id)).session)

    async def find(self, session_id: str) -> SessionInfo | None:
        """The session, or None if there is none."""
        try:
            return await self.get(session_id)
        except NotFound:
            return None

    async def create(self, request: session_service_pb2.CreateSessionRequest) -> SessionInfo:
        method, answer = self._connection.sessions.CreateSession, session_service_pb2.CreateSessionResponse
        return self._know((await self._connection.call(method, request, answer)).session)

    async def delete(self, session_id: str, *, incarnation: str = "") -> int:
        """Deletes a session with its state and answers; returns the last step that it had committed.

        Sent once: after a failure of the way, whether the session is gone can be asked by `find`.
        """
        request = session_service_pb2.DeleteSessionRequest(session_id=session_id, incarnation=incarnation)
        method, answer = self._connection.sessions.DeleteSession, session_service_pb2.DeleteSessionResponse
        self._incarnations.pop(session_id, None)
        return (await self._connection.call_once(method, request, answer, session_id=session_id)).committed_step

    async def read_state(
        self,
        session_id: str,
        *,
        step: int | None = None,
        tensors: Sequence[str] = (),
        incarnation: str = "",
        minimum_step: int = 0,
    ) -> State:
        """The state after the latest step or a kept one: all of it, or the tensors named. Changes nothing.

        Raises StepGap if the session has not reached `minimum_step`.
        """
        request = session_service_pb2.ReadStateRequest(
            session_id=session_id, incarnation=incarnation, step=step, tensors=tensors, minimum_step=minimum_step
        )
        method, answer = self._connection.sessions.ReadState, session_service_pb2.ReadStateResponse
        return State.from_message(await self._connection.call(method, request, answer, session_id=session_id))

    async def fork(
        self,
        session_id: str,
        *,
        step: int | None = None,
        new_session_id: str = "",
        labels: Mapping[str, str] | None = None,
        window: int = 0,
        ttl: float | None = None,
        model_version: int = 0,
        incarnation: str = "",
    ) -> SessionInfo:
        """Creates a session that goes on from the latest or a kept step of another, which is not touched.

        `window` is in steps, `ttl` in seconds; both are as the forked session's unless given. With `model_version` the
        new session goes on with that version of the model; raises ModelMismatch, naming the tensor, where it cannot.
        """
        request = session_service_pb2.ForkSessionRequest(
            session_id=session_id,
            step=step,
            new_session_id=new_session_id,
            request_id=str(uuid.uuid4()),
            labels=labels,
            window=window,
            model_version=model_version,
        )
        if ttl is not None:
            request.ttl.FromTimedelta(timedelta(seconds=ttl))
        method, answer = self._connection.sessions.ForkSession, session_service_pb2.ForkSessionResponse
        async with self.meant(session_id, incarnation) as request.incarnation:
            return self._know((await self._connection.call(method, request, answer, session_id=session_id)).session)

    async def export(self, session_id: str, *, incarnation: str = "", minimum_step: int = 0) -> bytes:
        """A copy of a session as a file: its numbers, state, kept states and kept answers. The session goes on."""
        request = portable_pb2.ExportSessionRequest(session_id=session_id, minimum_step=minimum_step)
        method = self._connection.sessions.ExportSession
        async with self.meant(session_id, incarnation) as request.incarnation:
            return await self._connection.repeat(lambda: self._connection.download(method, request, session_id))

    async def import_(
        self,
        data: bytes,
        *,
        session_id: str = "",
        labels: Mapping[str, str] | None = None,
        ttl: float | None = None,
        durability: str | None = None,
        strict_fingerprint: bool = False,
    ) -> SessionInfo:
        """Creates a session that goes on where an exported file ends, with its numbers and answers.

        `labels` and `ttl`, in seconds, are as the file says unless given.
        """
        opening = portable_pb2.ImportOpen(
            session_id=session_id,
            request_id=str(uuid.uuid4()),
            labels=labels,
            durability=durability_number(durability),
            strict_fingerprint=strict_fingerprint,
        )
        if ttl is not None:
            opening.ttl.FromTimedelta(timedelta(seconds=ttl))

        def pieces() -> Iterator[portable_pb2.ImportSessionRequest]:
            yield portable_pb2.ImportSessionRequest(open=opening)
            for begin in range(0, len(data), PIECE_BYTES):
                yield portable_pb2.ImportSessionRequest(data=data[begin : begin + PIECE_BYTES])

        method, answer = self._connection.sessions.ImportSession, portable_pb2.ImportSessionResponse
        made = await self._connection.repeat(lambda: self._connection.upload(method, pieces(), answer))
        return self._know(made.session)

    async def rewind(self, session_id: str, step: int, to_step: int, *, incarnation: str = "") -> int:
        """Goes back: step number `step`, the next one, ends in the state after the kept step `to_step`.

        Returns the last committed step. Repeatable. A stream that is open on the session ends SessionTakenOver.
        """
        request = session_service_pb2.RewindSessionRequest(
            session_id=session_id, step=step, to_step=to_step, client_id=self._client_id
        )
        method, answer = self._connection.sessions.RewindSession, session_service_pb2.RewindSessionResponse
        async with self.meant(session_id, incarnation) as request.incarnation:
            response = await self._connection.call(method, request, answer, session_id=session_id)
        return response.result.committed_step


class Models:
    """The served models."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(self) -> list[ModelInfo]:
        request = model_service_pb2.ListModelsRequest(page_size=PAGE)
        method, answer = self._connection.models.ListModels, model_service_pb2.ListModelsResponse
        models: list[ModelInfo] = []
        while True:
            page = await self._connection.call(method, request, answer)
            models += [ModelInfo.from_message(message) for message in page.models]
            if not page.next_page_token:
                return models
            request.page_token = page.next_page_token

    async def get(self, model_id: str, version: int = 0) -> ModelInfo:
        """A model with its manifest, in its newest version unless another is named."""
        request = model_service_pb2.GetModelRequest(model_id=model_id, version=version)
        method, answer = self._connection.models.GetModel, model_service_pb2.GetModelResponse
        message = await self._connection.call(method, request, answer)
        return ModelInfo.from_message(message.model, message.manifest)

    async def broken(self) -> dict[str, str]:
        """The bundles in the server's folder that cannot be served, as `model/version`, each with the reason."""
        request = model_service_pb2.ListModelsRequest(page_size=1)
        method, answer = self._connection.models.ListModels, model_service_pb2.ListModelsResponse
        found = (await self._connection.call(method, request, answer)).broken_models
        return {f"{broken.model_id}/{broken.version}": broken.reason for broken in found}

    async def load(self, model_id: str, version: int = 0) -> ModelInfo:
        """Serves what lies in the server's folder of a model: a version, or what its policy wants. For operators.

        Raises ModelBroken for what cannot be served; what was served before goes on.
        """
        request = model_service_pb2.LoadModelRequest(model_id=model_id, version=version)
        method, answer = self._connection.models.LoadModel, model_service_pb2.LoadModelResponse
        return ModelInfo.from_message((await self._connection.call(method, request, answer)).model)

    async def unload(self, model_id: str, version: int = 0, *, force: bool = False) -> tuple[tuple[int, ...], int]:
        """Serves a version of a model, or all, no longer; returns which, and how many sessions cannot go on.

        For operators. Raises ModelInUse where sessions need it, unless forced. Sent once: a repeat would find it gone.
        """
        request = model_service_pb2.UnloadModelRequest(model_id=model_id, version=version, force=force)
        method, answer = self._connection.models.UnloadModel, model_service_pb2.UnloadModelResponse
        response = await self._connection.call_once(method, request, answer)
        return tuple(response.versions), response.session_count

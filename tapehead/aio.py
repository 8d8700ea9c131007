"""The client for asyncio programs.

async with tapehead.aio.connect() as client, client.session("ntm-copy") as session:
    async for result in session.stream(rows):
        print(result.step, result.output)
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from os import PathLike
from types import TracebackType

import grpc

from tapehead.access import Access
from tapehead.catalogs import Models, Sessions
from tapehead.connection import Connection
from tapehead.conversation import Conversation
from tapehead.errors import StepPayloadMismatch
from tapehead.hashing import step_hash
from tapehead.opening import Opening, create_request
from tapehead.results import Answer, ServerInfo, Statistics, StepResult
from tapehead.resume_file import ResumeFile
from tapehead.resume_token import ResumeToken
from tapehead.session import Session
from tapehead.signature import Signature
from tapehead.tensors import Array, to_message
from tapehead.v1 import question_service_pb2, server_service_pb2, session_service_pb2

__all__ = ["Client", "Conversation", "Models", "Session", "Sessions", "connect"]


def connect(
    server: str | None = None,
    *,
    token: str | None = None,
    token_file: str | PathLike[str] | None = None,
    tls: bool | None = None,
    tls_ca: str | PathLike[str] | None = None,
    tls_cert: str | PathLike[str] | None = None,
    tls_key: str | PathLike[str] | None = None,
    insecure_token: bool | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    connect_timeout: float = 10.0,
    reconnect_timeout: float = 60.0,
) -> Client:
    """A client of the server at HOST:PORT; else of TAPEHEAD_SERVER, else of 127.0.0.1:8001.

    `token` says who calls, or `token_file`, which holds one and is read again when it changes. `tls` encrypts; so does
    any of the PEM files: `tls_ca` (who signs for the server; else whom everybody believes), `tls_cert` and `tls_key`
    (the client's own). Each is else taken from TAPEHEAD_TOKEN, TAPEHEAD_TLS_CA and so on. `credentials` are gRPC's own,
    in place of these files. `insecure_token` lets a token go unencrypted to another machine. `connect_timeout` and
    `reconnect_timeout`, in seconds, bound the wait for a server that never answered and for one that did; a session
    waits as long for a server without room for its next step. Nothing is sent before the first call. Raises
    ValueError (also for a token that others could read on its way) or OSError for a file that cannot be read.
    """
    return Client(
        Connection(
            server,
            access=Access(token, token_file, tls, tls_ca, tls_cert, tls_key, insecure_token),
            credentials=credentials,
            connect_timeout=connect_timeout,
            reconnect_timeout=reconnect_timeout,
        )
    )


class Client:
    """One server, one event loop; made by `connect`. Closing it closes the sessions that it opened."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.client_id = uuid.uuid4().hex  # of unary steps; a session object draws its own
        self.sessions = Sessions(connection, self.client_id)
        self.models = Models(connection)
        self._signatures: dict[tuple[str, int], Signature] = {}
        self._open_sessions: set[Session] = set()

    def __repr__(self) -> str:
        return f"<Client of {self.connection.server} | {len(self._open_sessions)} open sessions>"

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        for session in list(self._open_sessions):
            await session.close()
        await self.connection.close()

    # --- sessions -----------------------------------------------------------------------------------------------------

    def session(
        self,
        model_id: str | None = None,
        session_id: str | None = None,
        *,
        resume: ResumeToken | None = None,
        resume_file: str | PathLike[str] | None = None,
        model_version: int = 0,
        window: int = 64,
        labels: Mapping[str, str] | None = None,
        durability: str | None = None,
        ttl: float | None = None,
        keep_every: int = 0,
        keep_most: int = 0,
        start: Mapping[str, object] | None = None,
        constants: Mapping[str, object] | None = None,
        outputs: Sequence[str] = (),
        create: bool = True,
        durable_token: bool = False,
        strict_fingerprint: bool = False,
    ) -> Session:
        """A session to be used as `async with`.

        It is created with the `model_id` unless it exists (never with `create=False`); without a `session_id` the
        server draws one. `resume` goes on from another session object's token instead. `window` is in steps, `ttl` in
        seconds, `durability` one of disk, process and memory; what is not given is the server's default. `outputs`
        names the outputs of every step that names none itself. With `keep_every` the state of about every so many
        steps is kept, the newest `keep_most` of them, for `sessions.fork` and `sessions.rewind`. `start` holds the
        inputs of the model's entry `start`, if it has one, and `constants` what else a session is given once, by name;
        a session that exists already keeps its own.

        With `resume_file` a program that is killed goes on where it was when it makes the session again: the file,
        which is made the first time, holds the token and the inputs that are not settled, and those are sent again.
        `missed` gives their answers; the next input is that of `next_step`. An answer counts as settled once the
        program comes back for the next one, so the last that it was handed may come again.

        With `durable_token` the window counts from the last token given to `saved`, so that an application that
        restarts from that token never finds an answer released.
        """
        file = None
        if resume_file is not None:
            if resume is not None:
                raise ValueError("resume and resume_file: expected one of them, got both")
            file = ResumeFile(resume_file)
            resume, durable_token = file.token, True
            if resume is not None and session_id not in (None, resume.session_id):
                file.close()
                raise ValueError(
                    f"resume_file: expected the file of session '{session_id}', got that of '{resume.session_id}'"
                )
        creation = None
        if create and model_id is not None and resume is None:
            creation = create_request(
                model_id,
                session_id,
                model_version=model_version,
                labels=labels,
                durability=durability,
                window=window,
                ttl=ttl,
                keep_every=keep_every,
                keep_most=keep_most,
            )
        return Session(
            self,
            Opening(
                session_id=session_id or "",
                create=creation,
                resume=resume,
                outputs=tuple(outputs),
                durable_token=durable_token,
                file=file,
                strict_fingerprint=strict_fingerprint,
                start=start or {},
                constants=constants or {},
            ),
        )

    async def step(
        self,
        session_id: str,
        step: int,
        inputs: Mapping[str, Array],
        *,
        step_count: int = 0,
        outputs: Sequence[str] = (),
        incarnation: str = "",
    ) -> StepResult:
        """Takes step number `step` (or, with a `step_count`, the chunk from it) without a stream.

        `inputs` are arrays of exactly the model's element types, by input name. Repeatable: the same number with the
        same inputs gives the same answer, once taken. It is the session that this client knows by the id, or asks for
        first: should another one have taken the id since, SessionReplaced is raised.
        """
        request = session_service_pb2.StepRequest(
            session_id=session_id,
            step=step,
            step_count=step_count,
            inputs=[to_message(name, array) for name, array in inputs.items()],
            outputs=outputs,
            client_id=self.client_id,
        )
        method, reply = self.connection.sessions.Step, session_service_pb2.StepResponse
        async with self.sessions.meant(session_id, incarnation) as request.incarnation:
            answer = await self.connection.call(method, request, reply, session_id=session_id)
        if answer.result.input_hash != step_hash(step_count, inputs, outputs):
            raise StepPayloadMismatch(f"step {step} of the session '{session_id}' has another input: it is another's")
        return StepResult.from_message(answer.result)

    # --- questions ----------------------------------------------------------------------------------------------------

    async def ask(
        self,
        story: str | Sequence[str],
        question: str,
        *,
        model_id: str = "babi-qa",
        model_version: int = 0,
        answer_count: int = 3,
    ) -> Answer:
        """Answers a question about a whole story: sentences, or a text with one sentence a line."""
        lines = story.splitlines() if isinstance(story, str) else story
        request = question_service_pb2.AskRequest(
            story=question_service_pb2.Story(sentences=[line for line in lines if line.strip()]),
            model_id=model_id,
            model_version=model_version,
            question=question,
            answer_count=answer_count,
        )
        method = self.connection.questions.Ask
        return Answer.from_message(await self.connection.call(method, request, question_service_pb2.AskResponse))

    async def conversation(
        self,
        model_id: str | None = "babi-qa",
        session_id: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        durability: str | None = None,
        create: bool = True,
    ) -> Conversation:
        """A story that grows: the one that the session holds already, or else (never with `create=False`) a new one."""
        if not create and not session_id:
            raise ValueError("session_id: expected the id of a session, because none is to be created")
        info = None
        if session_id:
            info = await (self.sessions.find(session_id) if create else self.sessions.get(session_id))
        if info is None:
            request = create_request(model_id or "", session_id, labels=labels, durability=durability)
            info = await self.sessions.create(request)
        return Conversation(self.connection, info)

    # --- the server ---------------------------------------------------------------------------------------------------

    async def server(self) -> ServerInfo:
        """The server's version, settings and parts."""
        request, answer = server_service_pb2.GetServerRequest(), server_service_pb2.GetServerResponse
        return ServerInfo.from_message(await self.connection.call(self.connection.servers.GetServer, request, answer))

    async def statistics(self) -> Statistics:
        """The server's counters of the moment."""
        request, answer = server_service_pb2.GetStatisticsRequest(), server_service_pb2.GetStatisticsResponse
        return Statistics.from_message(
            await self.connection.call(self.connection.servers.GetStatistics, request, answer)
        )

    async def signature(self, model_id: str, version: int) -> Signature:
        """What the steps of a model take; asked for once."""
        if (model_id, version) not in self._signatures:
            info = await self.models.get(model_id, version)
            assert info.manifest is not None
            self._signatures[model_id, version] = Signature.from_manifest(info.manifest)
        return self._signatures[model_id, version]

    def opened(self, session: Session) -> None:
        self._open_sessions.add(session)

    def closed(self, session: Session) -> None:
        self._open_sessions.discard(session)

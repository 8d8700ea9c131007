"""The client for blocking programs: each call runs its asynchronous twin on the package's own event loop.

with tapehead.connect() as client, client.session("ntm-copy") as session:
    print(session.step(row).output)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from types import TracebackType

import grpc

from tapehead import aio
from tapehead.blocking_catalogs import Models, Sessions
from tapehead.portal import Portal
from tapehead.results import Answer, ServerInfo, SessionInfo, Statistics, StepResult
from tapehead.resume_token import ResumeToken
from tapehead.standing import Standing
from tapehead.tensors import Array


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

    async def make() -> aio.Client:  # on the loop, because the channel belongs to it
        return aio.connect(
            server,
            token=token,
            token_file=token_file,
            tls=tls,
            tls_ca=tls_ca,
            tls_cert=tls_cert,
            tls_key=tls_key,
            insecure_token=insecure_token,
            credentials=credentials,
            connect_timeout=connect_timeout,
            reconnect_timeout=reconnect_timeout,
        )

    portal = Portal.enter()
    try:
        return Client(portal, portal.call(make()))
    except BaseException:
        portal.leave()
        raise


class Client:
    """One server; made by `connect`. Closing it closes the sessions that it opened."""

    def __init__(self, portal: Portal, client: aio.Client) -> None:
        self._portal = portal
        self._client = client
        self._is_open = True
        self.sessions = Sessions(portal, client.sessions)
        self.models = Models(portal, client.models)

    def __repr__(self) -> str:
        return repr(self._client)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            try:
                self._portal.call(self._client.close())
            finally:
                self._portal.leave()

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
        """A session to be used as `with`; what each argument means says `tapehead.aio.Client.session`."""
        return Session(
            self._portal,
            self._client.session(
                model_id,
                session_id,
                resume=resume,
                resume_file=resume_file,
                model_version=model_version,
                window=window,
                labels=labels,
                durability=durability,
                ttl=ttl,
                keep_every=keep_every,
                keep_most=keep_most,
                start=start,
                constants=constants,
                outputs=outputs,
                create=create,
                durable_token=durable_token,
                strict_fingerprint=strict_fingerprint,
            ),
        )

    def step(
        self,
        session_id: str,
        step: int,
        inputs: Mapping[str, Array],
        *,
        step_count: int = 0,
        outputs: Sequence[str] = (),
        incarnation: str = "",
    ) -> StepResult:
        """Takes step number `step` (or, with a `step_count`, the chunk from it) without a stream. Repeatable."""
        return self._portal.call(
            self._client.step(session_id, step, inputs, step_count=step_count, outputs=outputs, incarnation=incarnation)
        )

    def ask(
        self,
        story: str | Sequence[str],
        question: str,
        *,
        model_id: str = "babi-qa",
        model_version: int = 0,
        answer_count: int = 3,
    ) -> Answer:
        """Answers a question about a whole story: sentences, or a text with one sentence a line."""
        return self._portal.call(
            self._client.ask(story, question, model_id=model_id, model_version=model_version, answer_count=answer_count)
        )

    def conversation(
        self,
        model_id: str | None = "babi-qa",
        session_id: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        durability: str | None = None,
        create: bool = True,
    ) -> Conversation:
        """A story that grows: the one that the session holds already, or else (never with `create=False`) a new one."""
        make = self._client.conversation(model_id, session_id, labels=labels, durability=durability, create=create)
        return Conversation(self._portal, self._portal.call(make))

    def server(self) -> ServerInfo:
        """The server's version, settings and parts."""
        return self._portal.call(self._client.server())

    def statistics(self) -> Statistics:
        """The server's counters of the moment."""
        return self._portal.call(self._client.statistics())


class Session(Standing):
    """A model's memory that belongs to its caller; made by `Client.session`, used as `with`.

    Every answer comes once and in order, whatever breaks between here and the server. What each method promises says
    `tapehead.aio.Session`.
    """

    def __init__(self, portal: Portal, session: aio.Session) -> None:
        super().__init__(session.steps)
        self._portal = portal
        self._session = session

    def __enter__(self) -> Session:
        self._portal.call(self._session.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._portal.call(self._session.__aexit__(kind, error, trace))

    def close(self) -> None:
        """Ends the stream. The session itself lives on in the server's store."""
        self._portal.call(self._session.close())

    def step(self, inputs: object = None, *, outputs: Sequence[str] = ()) -> StepResult:
        """Takes one step: an array or list for the model's only input, or a dict by input name."""
        return self._portal.call(self._session.step(inputs, outputs=outputs))

    def chunk(self, inputs: object, *, outputs: Sequence[str] = ()) -> StepResult:
        """Takes as many steps as the inputs' leading axis is long, in one message and one commit."""
        return self._portal.call(self._session.chunk(inputs, outputs=outputs))

    def stream(
        self, inputs: Iterable[object], *, outputs: Sequence[str] = (), chunked: bool = False
    ) -> Iterator[StepResult]:
        """Takes a step (or, `chunked`, a chunk) for each element, a window's worth ahead of what was answered.

        Yields every answer once, in order. The iterable is read on a thread of its own, ahead of what is yielded.
        """
        elements = self._portal.pull(inputs)
        return self._portal.iterate(self._session.stream(elements, outputs=outputs, chunked=chunked))

    def missed(self) -> list[StepResult]:
        """The answers of steps that were committed but whose answers a resumed application never received."""
        return self._portal.call(self._session.missed())

    def saved(self, token: ResumeToken) -> None:
        """Tells a session opened with `durable_token` that `token` now lies where it survives this process."""

        async def tell() -> None:
            self._session.saved(token)

        self._portal.call(tell())


class Conversation:
    """A story in the server's store; made by `Client.conversation`."""

    def __init__(self, portal: Portal, conversation: aio.Conversation) -> None:
        self._portal = portal
        self._conversation = conversation

    def __repr__(self) -> str:
        return repr(self._conversation)

    @property
    def session_id(self) -> str:
        return self._conversation.session_id

    @property
    def info(self) -> SessionInfo:
        """The session as it was at the beginning."""
        return self._conversation.info

    @property
    def told_count(self) -> int:
        """How many sentences the story has."""
        return self._conversation.told_count

    def tell(self, *sentences: str) -> tuple[str, ...]:
        """Adds sentences, oldest first, each exactly once; returns the words that the model has never seen."""
        return self._portal.call(self._conversation.tell(*sentences))

    def ask(self, question: str, *, answer_count: int = 3) -> Answer:
        """Answers a question about everything told so far."""
        return self._portal.call(self._conversation.ask(question, answer_count=answer_count))

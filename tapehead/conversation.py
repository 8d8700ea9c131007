"""A question-answering session as asyncio programs use it: a story that grows, and questions about it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from tapehead.connection import Connection
from tapehead.errors import StepPayloadMismatch
from tapehead.hashing import tell_hash
from tapehead.results import Answer, SessionInfo
from tapehead.v1.question_service_pb2 import AskRequest, AskResponse, TellRequest, TellResponse


class Conversation:
    """A story in the server's store; made by `Client.conversation`.

    Sentences are numbered steps, so each becomes part of the story exactly once, whatever breaks on the way. One
    writer at a time: where somebody else tells the same story, `tell` raises StepPayloadMismatch or StepGap.
    """

    def __init__(self, connection: Connection, info: SessionInfo) -> None:
        self._connection = connection
        self._client_id = uuid.uuid4().hex
        self.info = info  # as it was at the beginning
        self.told_count = info.committed_step  # sentences

    def __repr__(self) -> str:
        return f"<Conversation '{self.session_id}' of {self.told_count} sentences>"

    @property
    def session_id(self) -> str:
        return self.info.session_id

    async def tell(self, *sentences: str) -> tuple[str, ...]:
        """Adds sentences, oldest first; returns the words that the model has never seen.

        A window's worth of sentences is committed together; where an error is raised, `told_count` says how many of
        the story's sentences the server has.
        """
        unknown: list[str] = []
        for begin in range(0, len(sentences), self.info.window):
            unknown += await self._tell(sentences[begin : begin + self.info.window])
        return tuple(dict.fromkeys(unknown))

    async def ask(self, question: str, *, answer_count: int = 3) -> Answer:
        """Answers a question about everything told so far."""
        request = AskRequest(
            session_id=self.session_id,
            question=question,
            answer_count=answer_count,
            incarnation=self.info.incarnation,
            minimum_step=self.told_count,
        )
        method = self._connection.questions.Ask
        return Answer.from_message(
            await self._connection.call(method, request, AskResponse, session_id=self.session_id)
        )

    async def _tell(self, sentences: Sequence[str]) -> Sequence[str]:
        request = TellRequest(
            session_id=self.session_id,
            incarnation=self.info.incarnation,
            step=self.told_count + 1,
            sentences=sentences,
            client_id=self._client_id,
        )
        method = self._connection.questions.Tell
        answer = await self._connection.call(method, request, TellResponse, session_id=self.session_id)
        if answer.input_hash != tell_hash(sentences):
            raise StepPayloadMismatch(
                f"step {request.step} of the session '{self.session_id}' is another sentence, told by somebody else",
                metadata={"first_step": str(answer.step), "step_count": str(answer.step_count)},
            )
        self.told_count += len(sentences)
        return answer.unknown_words

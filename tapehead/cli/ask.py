"""`tapehead ask` and `tapehead tell`: questions about a story, and the story itself."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from tapehead import Answer, Client, Conversation, SessionInfo, render
from tapehead.cli.files import STANDARD_INPUT, lines
from tapehead.cli.options import Json, Server, connect, console, print_json, session_id
from tapehead.errors import OutcomeUnknown, ServerUnreachable, TapeheadError, Unavailable

MODEL = "babi-qa"
UNSETTLED = (OutcomeUnknown, ServerUnreachable, Unavailable)  # after these, what was told may have been taken


def ask(
    question: Annotated[str, typer.Argument(help='The question, for example "Where is Mary?".')],
    story: Annotated[
        str | None, typer.Option("--story", help="A file with the story, one sentence a line; - reads stdin.")
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", callback=session_id, help="The session that was told the story.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The model that answers about a --story.", show_default=MODEL)
    ] = None,
    answers: Annotated[int, typer.Option("--answers", help="How many ranked answers.", min=1, max=100)] = 3,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Answer a question about a story, and show where the model looked: at which sentences, or slots of its memory."""
    if (story is None) == (session is None):
        raise typer.BadParameter("expected either --story or --session")
    with connect(server) as client:
        sentences: list[str] | None = None
        if story is not None:
            sentences = lines(story)
            answer = client.ask(sentences, question, model_id=model or MODEL, answer_count=answers)
        else:
            conversation = client.conversation(None, session, create=False)
            _require_model(conversation.info, model)
            answer = conversation.ask(question, answer_count=answers)
    if as_json:
        print_json(answer)
    else:
        _show(answer, sentences)


def tell(
    sentences: Annotated[list[str], typer.Argument(help="Sentences, oldest first; - reads them from stdin.")],
    session: Annotated[
        str, typer.Option("--session", callback=session_id, help="The session; created if there is none.")
    ],
    model: Annotated[
        str | None, typer.Option("--model", help="The model of a new session.", show_default=MODEL)
    ] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Add sentences to a session's story, each exactly once."""
    told = lines("-") if sentences == ["-"] else sentences
    if not told:
        raise ValueError(f"{STANDARD_INPUT}: expected at least one sentence, got none")
    with connect(server) as client:
        is_new = client.sessions.find(session) is None
        conversation = client.conversation(model or MODEL, session)
        _require_model(conversation.info, model)
        try:
            unknown = conversation.tell(*told)
        except TapeheadError as error:
            if is_new and not isinstance(error, UNSETTLED):
                _remove_untold(client, conversation)
            raise
    if as_json:
        print_json(
            {
                "session_id": conversation.session_id,
                "told": len(told),
                "sentences": conversation.told_count,
                "unknown_words": unknown,
            }
        )
        return
    console().print(f"'{conversation.session_id}' was told {len(told)} and has {conversation.told_count} sentences.")
    _warn_about(unknown)


def _require_model(info: SessionInfo, model: str | None) -> None:
    if model is not None and model != info.model_id:
        raise ValueError(
            f"--model: expected '{info.model_id}', the model of the session '{info.session_id}', got '{model}'"
        )


def _remove_untold(client: Client, conversation: Conversation) -> None:
    """Takes back the creation of a session to which nothing could be told."""
    incarnation = conversation.info.incarnation
    with suppress(TapeheadError):  # the reason why nothing could be told is what matters
        if client.sessions.get(conversation.session_id, incarnation=incarnation).committed_step == 0:
            client.sessions.delete(conversation.session_id, incarnation=incarnation)


def _show(answer: Answer, sentences: list[str] | None) -> None:
    out = console()
    for ranked in answer.ranked:
        out.print(f"{ranked.probability:6.1%}  {render.bar(ranked.probability)}  {ranked.text}", markup=False)
    _warn_about(answer.unknown_words)
    if answer.forgotten_sentence_count:
        out.print(f"Forgotten, because the memory was full: the oldest {answer.forgotten_sentence_count} sentence(s).")
    if answer.hops:
        count = max(map(len, answer.hops))
        if answer.has_slots:
            sentences = [f"slot {index + 1}" for index in range(count)]
        elif sentences is None:  # the server keeps what the model made of the sentences, not their text
            sentences = [f"sentence {answer.step - count + 1 + index}" for index in range(count)]
        out.print()
        out.print(render.attention(sentences, answer.hops), markup=False)


def _warn_about(unknown_words: tuple[str, ...]) -> None:
    if unknown_words:
        console().print(f"Unknown to the model: {', '.join(unknown_words)}.", markup=False)

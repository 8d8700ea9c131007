"""Tapehead's client: sessions of models that remember.

    import tapehead

    with tapehead.connect() as client, client.session("ntm-copy") as session:
        for result in session.stream(rows):
            print(result.step, result.output)

`tapehead.aio` is the same for asyncio programs, `tapehead.render` draws what models give into a terminal.
"""

from tapehead import aio, errors, render
from tapehead.client import Client, Conversation, Session, connect
from tapehead.errors import TapeheadError
from tapehead.results import Answer, ModelInfo, RankedAnswer, ServerInfo, SessionInfo, State, Statistics, StepResult
from tapehead.resume_token import ResumeToken

__all__ = [
    "Answer",
    "Client",
    "Conversation",
    "ModelInfo",
    "RankedAnswer",
    "ResumeToken",
    "ServerInfo",
    "Session",
    "SessionInfo",
    "State",
    "Statistics",
    "StepResult",
    "TapeheadError",
    "aio",
    "connect",
    "errors",
    "render",
]

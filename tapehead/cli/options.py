"""What every command takes, and how every command prints."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console

import tapehead

CONNECT_TIMEOUT = 5.0  # seconds: a person waits
WIDE = 250  # characters

Server = Annotated[
    str | None,
    typer.Option(
        "--server", help="Address of the server, HOST:PORT; or set TAPEHEAD_SERVER.", show_default="127.0.0.1:8001"
    ),
]
SessionId = Annotated[str, typer.Argument(help="The session's id.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """What was said before the command: whom to call, who calls and whom it believes."""

    server: str | None = None
    token_file: Path | None = None
    tls: bool | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure_token: bool | None = None


access: ContextVar[AccessOptions] = ContextVar("access", default=AccessOptions())  # noqa: B039  # never changes


def connect(server: str | None) -> tapehead.Client:
    """A client of the server named behind the command, else before it, else of the one that `connect` knows."""
    given = fields(access.get())
    before = given.pop("server")
    return tapehead.connect(server or before, connect_timeout=CONNECT_TIMEOUT, **given)


def console() -> Console:
    """For text; a table is cut to the width of a terminal only where there is one."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)


def print_json(value: object, *, line: bool = False) -> None:
    """Prints a value of this package as JSON; on one line where several follow each other."""
    print(json.dumps(_plain(value), ensure_ascii=False, indent=None if line else 2), flush=line)


def fields(value: Any) -> dict[str, Any]:
    """What a result of this package says, by name."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def labels(pairs: list[str] | None) -> dict[str, str]:
    """The labels of --label KEY=VALUE, which is repeatable."""
    split = [pair.partition("=") for pair in pairs or []]
    for key, equals, _ in split:
        if not key or not equals:
            raise typer.BadParameter(f"--label: expected KEY=VALUE, got '{key}{equals}'")
    return {key: value for key, _, value in split}


def session_id(given: str | None) -> str | None:
    """What --session names; an empty name, such as that of a variable that is not set, is a mistake."""
    if given == "":
        raise typer.BadParameter("expected the id of a session, got an empty one")
    return given


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return MessageToDict(value, preserving_proto_field_name=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(fields(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, datetime):
        return value.isoformat()
    return value

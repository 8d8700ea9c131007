"""`tapehead sessions export` and `import`: sessions as files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tapehead.cli.files import require_writable
from tapehead.cli.options import Json, Server, SessionId, connect, console, labels, print_json


def export_session(
    session_id: SessionId,
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Write a copy of a session to a file.

    It holds the state, the kept states and the kept answers, as of one step. The session itself goes on.
    """
    require_writable(file, "FILE")
    with connect(server) as client:
        data = client.sessions.export(session_id)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(file)  # whole or not at all
    finally:
        draft.unlink(missing_ok=True)
    if as_json:
        print_json({"session_id": session_id, "file": str(file), "bytes": len(data)})
    else:
        console().print(f"Exported '{session_id}' to {file}, {len(data):,} bytes.", markup=False)


def import_session(
    file: Annotated[Path, typer.Argument(help="The file of an exported session.")],
    session_id: Annotated[
        str, typer.Option("--as", "--id", help="The new session's id; drawn by the server if not given.")
    ] = "",
    label: Annotated[
        list[str] | None, typer.Option("--label", help="A label in place of the file's, KEY=VALUE; repeatable.")
    ] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Create a session that goes on where a file ends."""
    data = file.read_bytes()
    with connect(server) as client:
        info = client.sessions.import_(data, session_id=session_id, labels=labels(label))
    if as_json:
        print_json(info)
    else:
        console().print(f"Imported {file} as '{info.session_id}' at step {info.committed_step}.", markup=False)

"""`tapehead sessions`: what the store keeps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Column, Table

from tapehead import SessionInfo
from tapehead.cli.options import Json, Server, SessionId, connect, console, labels, print_json

app = typer.Typer(help="List, show, look into, fork, rewind, move and remove sessions.", no_args_is_help=True)


@app.command("ls")
def ls(
    model: Annotated[str, typer.Option("--model", help="Only sessions of this model.")] = "",
    label: Annotated[list[str] | None, typer.Option("--label", help="Only with this label, KEY=VALUE.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="Only attached or only parked ones.")] = None,
    all_owners: Annotated[bool, typer.Option("--all-owners", help="Everybody's; for operators.")] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List sessions in the order of their ids."""
    with connect(server) as client:
        found = client.sessions.list(model_id=model, labels=labels(label), state=state, all_owners=all_owners)
    if as_json:
        print_json(found)
        return
    name = Column("session", no_wrap=True, overflow="fold")  # to be copied, so never cut
    facts = ("model", "step", "state", "durability", Column("size", justify="right"), "age", "last use")
    table = Table(*(["owner"] if all_owners else []), name, *facts, box=None, pad_edge=False)
    now = datetime.now(UTC)
    for info in found:
        table.add_row(
            *([info.owner] if all_owners else []),
            info.session_id,
            f"{info.model_id}/{info.model_version}",
            str(info.committed_step),
            info.state,
            info.durability,
            _size(info.state_bytes),
            _age(now, info.create_time),
            _age(now, info.last_use_time, " ago"),
        )
    console().print(table if found else "There are no sessions.")


@app.command("show")
def show(session_id: SessionId, server: Server = None, as_json: Json = False) -> None:
    """Show everything that the store knows of a session."""
    with connect(server) as client:
        info = client.sessions.get(session_id)
    if as_json:
        print_json(info)
        return
    table = Table("fact", Column("value", overflow="fold"), box=None, show_header=False, pad_edge=False)
    for name, value in _facts(info):
        table.add_row(name, value)
    console().print(table)


@app.command("rm")
def rm(
    session_ids: Annotated[list[str], typer.Argument(help="The sessions' ids.")],
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Remove sessions with their states and answers."""
    with connect(server) as client:
        for session_id in session_ids:
            committed = client.sessions.delete(session_id)
            if as_json:
                print_json({"session_id": session_id, "committed_step": committed}, line=True)
            else:
                console().print(f"Removed '{session_id}' at step {committed}.", markup=False)


def _facts(info: SessionInfo) -> list[tuple[str, str]]:
    pairs = ", ".join(f"{key}={value}" for key, value in info.labels.items())
    return [
        ("session", info.session_id),
        ("incarnation", info.incarnation),
        ("model", f"{info.model_id}, version {info.model_version}"),
        ("state", info.state),
        ("committed step", str(info.committed_step)),
        ("oldest kept answer", str(info.oldest_kept_answer)),
        ("kept steps", ", ".join(map(str, info.kept_steps)) or "none"),
        ("window", f"{info.window} steps"),
        ("epoch", str(info.epoch)),
        ("durability", info.durability),
        ("labels", pairs or "none"),
        ("state size", f"{info.state_bytes:,} bytes"),
        ("fingerprint", info.fingerprint or "none yet"),
        ("created", _time(info.create_time)),
        ("last use", _time(info.last_use_time)),
        ("expires", _time(info.expire_time)),
    ]


def _size(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _age(now: datetime, time: datetime | None, after: str = "") -> str:
    """How long ago that was, in its largest unit; the clocks of both sides may differ a little."""
    if time is None:
        return "never"
    seconds = max(0.0, (now - time).total_seconds())
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}{after}"
    return f"{seconds:.0f} s{after}"


def _time(time: datetime | None) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if time else "never"

"""`tapehead server`: whom one is talking to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.table import Table

from tapehead import ServerInfo
from tapehead.cli.options import Json, Server, connect, console, fields, print_json


def server(
    statistics: Annotated[bool, typer.Option("--statistics", help="Show its counters of the moment instead.")] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show the server's version, store, durability and settings."""
    with connect(server) as client:
        shown = client.statistics() if statistics else client.server()
    if as_json:
        print_json(shown)
    elif isinstance(shown, ServerInfo):
        _print(_facts(shown))
    else:
        _print((name.replace("_", " "), f"{count:,}") for name, count in fields(shown).items())


def _facts(info: ServerInfo) -> list[tuple[str, str]]:
    started = info.start_time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if info.start_time else "unknown"
    first = {"version": info.version, "store": info.store, "durability": info.durability, "started": started}
    rest = {name: value for name, value in {**info.components, **info.settings}.items() if name not in first}
    return [*first.items(), *sorted(rest.items())]


def _print(facts: Iterable[tuple[str, str]]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts:
        table.add_row(name, value or "-")
    console().print(table)

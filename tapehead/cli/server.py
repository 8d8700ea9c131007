"""`tapehead server`: whom one is talking to."""

from __future__ import annotations

from rich.table import Table

from tapehead.cli.options import Json, Server, connect, console, print_json


def server(server: Server = None, as_json: Json = False) -> None:
    """Show the server's version, store, durability and settings."""
    with connect(server) as client:
        info = client.server()
    if as_json:
        print_json(info)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    started = info.start_time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if info.start_time else "unknown"
    first = {"version": info.version, "store": info.store, "durability": info.durability, "started": started}
    rest = {name: value for name, value in {**info.components, **info.settings}.items() if name not in first}
    for name, value in [*first.items(), *sorted(rest.items())]:
        table.add_row(name, value or "-")
    console().print(table)

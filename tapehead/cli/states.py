"""`tapehead sessions state`, `fork` and `rewind`: what a session remembers, now and at its kept steps."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Column, Table

from tapehead import render
from tapehead.cli.files import require_writable
from tapehead.cli.options import Json, Server, SessionId, connect, console, labels, print_json
from tapehead.tensors import Array


def state(
    session_id: SessionId,
    step: Annotated[int | None, typer.Option("--step", min=0, help="A kept step; the latest if not given.")] = None,
    tensor: Annotated[
        list[str] | None,
        typer.Option("--tensor", help="A state tensor to show, by name; repeatable; all if not given."),
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Write the tensors to this .npz file.")] = None,
    draw: Annotated[
        bool | None,
        typer.Option(
            "--draw/--no-draw", help="Draw matrices as shaded blocks.", show_default="where there is a terminal"
        ),
    ] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show the tensors that a session remembers."""
    if save is not None:
        require_writable(save, "--save")
    with connect(server) as client:
        read = client.sessions.read_state(session_id, step=step, tensors=tensor or ())
    if save is not None:
        _save(save, read.tensors)
    if as_json:
        tensors = [{**_facts(name, values), "values": values} for name, values in read.tensors.items()]
        print_json({"session_id": session_id, "step": read.step, "tensors": tensors})
        return
    out = console()
    out.print(f"State of '{session_id}' after step {read.step}:", markup=False)
    table = Table(Column("tensor", no_wrap=True), "dtype", "shape", "min", "max", box=None, pad_edge=False)
    for name, values in read.tensors.items():
        facts = _facts(name, values)
        table.add_row(name, str(facts["dtype"]), str(facts["shape"]), _number(facts["min"]), _number(facts["max"]))
    out.print(table)
    if sys.stdout.isatty() if draw is None else draw:
        for name, values in read.tensors.items():
            if values.ndim == 2 and values.size:
                out.print(f"\n{name}\n{render.tape(values)}", markup=False)


def fork(
    session_id: SessionId,
    step: Annotated[
        int | None, typer.Option("--step", min=0, help="The kept step to go on from; the latest if not given.")
    ] = None,
    new_id: Annotated[str, typer.Option("--as", help="The new session's id; drawn by the server if not given.")] = "",
    label: Annotated[
        list[str] | None, typer.Option("--label", help="A label of the new session, KEY=VALUE; repeatable.")
    ] = None,
    version: Annotated[
        int, typer.Option("--version", min=0, help="The version of the model to go on with.", show_default="its own")
    ] = 0,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Create a session that goes on from a step of another, with another version of its model if that fits.

    The other one is not touched. Steps of the new one are numbered on from there.
    """
    with connect(server) as client:
        info = client.sessions.fork(
            session_id, step=step, new_session_id=new_id, labels=labels(label), model_version=version
        )
    if as_json:
        print_json(info)
    else:
        console().print(f"Forked '{session_id}' at step {info.committed_step} into '{info.session_id}'.", markup=False)


def rewind(
    session_id: SessionId,
    to: Annotated[int, typer.Option("--to", min=0, metavar="STEP", help="The kept step to go back to; 0: the start.")],
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Go back to the state after an earlier step.

    Going back is a step itself, with the next number. A stream that is open on the session ends.
    """
    with connect(server) as client:
        info = client.sessions.get(session_id)
        # The number says what is gone back from: if somebody else takes it first, this is refused.
        step = client.sessions.rewind(session_id, info.committed_step + 1, to, incarnation=info.incarnation)
    if as_json:
        print_json({"session_id": session_id, "to_step": to, "committed_step": step})
    else:
        console().print(f"'{session_id}' went back to step {to}; that was step {step}.", markup=False)


def _facts(name: str, values: Array) -> dict[str, object]:
    least, most = (values.min().item(), values.max().item()) if values.size else (None, None)
    return {"name": name, "dtype": str(values.dtype), "shape": list(values.shape), "min": least, "max": most}


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "-" if value is None else str(value)


def _save(path: Path, tensors: Mapping[str, Array]) -> None:
    """As numpy.savez does, which would take some names of tensors for its own arguments."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in tensors.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, values, allow_pickle=False)

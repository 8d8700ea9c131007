"""`tapehead models`: what is served."""

from __future__ import annotations

import re
from typing import Annotated

import typer
from rich.table import Column, Table

from tapehead import ModelInfo
from tapehead.cli.options import Json, Server, connect, console, print_json
from tapehead.tensors import dtype_name
from tapehead.v1.manifest_pb2 import Entry

app = typer.Typer(help="List, show, load and unload models.", no_args_is_help=True)

ModelId = Annotated[str, typer.Argument(help="The model's id.")]


@app.command("ls")
def ls(server: Server = None, as_json: Json = False) -> None:
    """List the served models."""
    with connect(server) as client:
        found = client.models.list()
        broken = {} if as_json else client.models.broken()
    if as_json:
        print_json(found)
        return
    table = Table("model", "versions", "kind", "state", "description", box=None, pad_edge=False)
    for info in found:
        versions = ", ".join(map(str, info.versions))
        table.add_row(info.model_id, versions, _kind(info), f"{info.state_bytes:,} B", info.description)
    console().print(table if found else "No model is served.")
    for name, reason in broken.items():
        console().print(f"{name} is not served: {reason}", markup=False)


@app.command("load")
def load(
    model_id: ModelId,
    version: Annotated[int, typer.Option("--version", help="The version; those of the policy if 0.", min=0)] = 0,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Serve what lies in the server's folder of a model. For operators."""
    with connect(server) as client:
        info = client.models.load(model_id, version)
    if as_json:
        print_json(info)
    else:
        console().print(f"{info.model_id}, version {info.version}, is served.", markup=False)


@app.command("unload")
def unload(
    model_id: ModelId,
    version: Annotated[int, typer.Option("--version", help="The version; all if 0.", min=0)] = 0,
    force: Annotated[bool, typer.Option("--force", help="Even if sessions need it; they cannot go on then.")] = False,
    server: Server = None,
) -> None:
    """Serve a model no longer, until it is loaded again or its files change. For operators."""
    with connect(server) as client:
        versions, sessions = client.models.unload(model_id, version, force=force)
    gone = ", ".join(map(str, versions))
    rest = f" {sessions} session(s) wait for it to be loaded again." if sessions else ""
    console().print(f"{model_id}, version {gone}, is not served any more.{rest}", markup=False)


@app.command("show")
def show(
    model_id: Annotated[str, typer.Argument(help="The model's id.")],
    version: Annotated[int, typer.Option("--version", help="The version; the newest served if 0.", min=0)] = 0,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show what a model takes and gives, where it comes from and what was measured."""
    with connect(server) as client:
        info = client.models.get(model_id, version)
    if as_json:
        print_json(info)
        return
    out = console()
    out.print(f"{info.model_id}, version {info.version}, {_kind(info)}: {info.description}", markup=False)
    if info.manifest is None:
        return
    table = Table("entry", "", "name", "type", "shape", "", box=None, pad_edge=False)
    for entry in info.manifest.entries:
        _add_entry(table, entry)
    for tensor in info.manifest.state:
        shape = "x".join(map(str, tensor.shape)) or "scalar"
        table.add_row("", "state", tensor.name, dtype_name(tensor.dtype), shape, tensor.description)
    out.print(table)
    _show_facts(info)


def _add_entry(table: Table, entry: Entry) -> None:
    for role, tensors in (("input", entry.inputs), ("output", entry.outputs)):
        for tensor in tensors:
            shape = "x".join("?" if axis < 0 else str(axis) for axis in tensor.shape) or "scalar"
            what = "inspection" if tensor.inspection else role
            table.add_row(entry.name, what, tensor.name, dtype_name(tensor.dtype), shape, tensor.description)


def _show_facts(info: ModelInfo) -> None:
    assert info.manifest is not None
    provenance, words = info.manifest.provenance, info.manifest.question_answering.words
    facts = [
        ("task", provenance.task),
        ("trained by", provenance.command),
        ("parameters", f"{provenance.parameter_count:,}" if provenance.parameter_count else ""),
        ("words", str(len(words)) if words else ""),
        ("state size", f"{info.state_bytes:,} bytes"),
        ("largest batch", str(info.max_batch)),
        ("fingerprint", info.fingerprint),
        *sorted(provenance.measured.items(), key=lambda item: _natural(item[0])),
    ]
    table = Table("fact", Column("value", overflow="fold"), box=None, show_header=False, pad_edge=False)
    for name, value in facts:
        if value:
            table.add_row(name, value)
    console().print(table)


def _natural(name: str) -> list[tuple[int, str]]:
    """Orders "task 2" before "task 10"."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def _kind(info: ModelInfo) -> str:
    return info.kind.replace("_", " ")

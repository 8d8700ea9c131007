"""`tapehead stream`: rows into a model that remembers."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import typer
from rich.console import Console

from tapehead import Session, StepResult
from tapehead.cli.copying import BITS, compare, copy_sequence
from tapehead.cli.files import STANDARD_INPUT, require_writable
from tapehead.cli.given import constants, given, in_words, output_words, start_inputs
from tapehead.cli.options import Json, Server, connect, console, fields, print_json, session_id
from tapehead.cli.rows import fitting, from_source
from tapehead.tensors import Array
from tapehead.v1.manifest_pb2 import Manifest


def stream(
    model: Annotated[str, typer.Argument(help="The model.")],
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]", help="Rows, one a step: FILE.npy, or comma-separated lines; - reads them from stdin."
        ),
    ] = None,
    copy: Annotated[
        int | None,
        typer.Option(
            "--copy",
            min=1,
            metavar="LENGTH",
            help="Generate a copy sequence instead: LENGTH rows of 8 random bits (9 channels, the last one 0), one row "
            "with only the delimiter on channel 9, LENGTH rows of zeros, during which the bits are to come back.",
        ),
    ] = None,
    session: Annotated[
        str | None,
        typer.Option(
            "--session", callback=session_id, help="The session to go on with; created once the first row is there."
        ),
    ] = None,
    output: Annotated[
        list[str] | None, typer.Option("--output", help="An output to ask for, inspection outputs too; repeatable.")
    ] = None,
    chunk: Annotated[int, typer.Option("--chunk", min=1, metavar="T", help="Steps in one message and commit.")] = 1,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the (first) output of all steps to this .npy file.")
    ] = None,
    keep_every: Annotated[
        int,
        typer.Option(
            "--keep-every",
            min=0,
            metavar="K",
            help="Where the session is created: keep the state of about every K-th step, for `sessions fork` and "
            "`sessions rewind`.",
        ),
    ] = 0,
    keep_most: Annotated[
        int,
        typer.Option("--keep-most", min=0, metavar="M", help="Keep the newest M of these states.", show_default="8"),
    ] = 0,
    start: Annotated[
        list[str] | None,
        typer.Option(
            "--start",
            metavar="NAME=VALUE",
            help="Where the session is created: what the model begins with, FILE.npy, JSON or its words; repeatable.",
        ),
    ] = None,
    constant: Annotated[
        list[str] | None,
        typer.Option(
            "--constant",
            metavar="NAME=VALUE",
            help="Where the session is created: what it is given once for all steps, as a sample rate; repeatable.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, metavar="N", help="Take N steps of a model whose steps have no input."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of the generated bits; random if not given.")
    ] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Stream rows into a session and print what comes out.

    The session outlives this command: name it with --session and a later stream goes on where this one ended. If the
    connection or the server breaks, the stream goes on by itself; every output is printed once, in order.
    """
    if (source is not None) + (copy is not None) + (steps is not None) != 1:
        raise typer.BadParameter("expected either a FILE or --copy LENGTH, or --steps N of a model without inputs")
    if keep_most and not keep_every:
        raise typer.BadParameter("--keep-most: expected --keep-every beside it")
    if save is not None:
        require_writable(save, "--save")
    seed = secrets.randbits(32) if seed is None else seed
    sequence = None if copy is None else copy_sequence(copy, seed)
    rows: Iterable[object] = (
        sequence if sequence is not None else [None] * steps if steps else from_source(source or "-")
    )
    saved: list[Array] = []
    name = "--copy" if copy is not None else STANDARD_INPUT if source in (None, "-") else source
    with connect(server) as client, ExitStack() as streaming:
        about = client.models.get(model)
        manifest = about.manifest or Manifest()
        if steps is None and (session is None or client.sessions.find(session) is None):
            rows = fitting(cast(Iterable[Array], rows), name, about)
        opened = streaming.enter_context(
            client.session(
                model,
                session,
                outputs=output or (),
                keep_every=keep_every,
                keep_most=keep_most,
                start=given(start or (), "--start", start_inputs(manifest)),
                constants=given(constant or (), "--constant", constants(manifest)),
            )
        )
        words = output_words(manifest)
        out = console()
        if not as_json:
            out.print(
                f"Session '{opened.session_id}' at step {opened.next_step - 1}, durability {opened.durability}.",
                markup=False,
            )
        for result in _results(opened, rows, 1 if steps else chunk):
            if save is not None or sequence is not None:
                saved.append(result.output if result.step_count else result.output[None])
            if as_json:
                print_json({"session_id": opened.session_id, **fields(result)}, line=True)
            elif sequence is None:
                _print_result(out, result, words)
    outputs = np.concatenate(saved) if saved else np.zeros(0, np.float32)
    if save is not None:
        with save.open("wb") as file:  # numpy would add an ending to the name
            np.save(file, outputs)
    if sequence is not None and not as_json:
        drawing, wrong = compare(sequence, outputs)
        out.print(drawing, markup=False)
        out.print(f"{wrong} of {len(sequence) // 2 * BITS} bits wrong (--seed {seed}).", markup=False)


def _results(session: Session, rows: Iterable[object], chunk: int) -> Iterator[StepResult]:
    if chunk == 1:
        return session.stream(rows)
    return session.stream(_chunks(cast(Iterable[Array], rows), min(chunk, session.window)), chunked=True)


def _chunks(rows: Iterable[Array], length: int) -> Iterator[Array]:
    remaining = iter(rows)
    while taken := list(islice(remaining, length)):
        yield np.stack(taken)


def _print_result(out: Console, result: StepResult, words: Mapping[str, Sequence[str]]) -> None:
    """One line a step and output: the number, the name where there are several, the values, or their words."""
    for name, values in result.outputs.items():
        prefix = f"{name} " if len(result.outputs) > 1 else ""
        for index, row in enumerate(values if result.step_count else values[None]):
            plain = " ".join(f"{value:.6g}" for value in np.ravel(row))
            shown = in_words(row, words[name]) if name in words else plain
            out.print(f"{result.step + index} {prefix}{shown}", markup=False)

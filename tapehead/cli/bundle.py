"""`tapehead bundle`: make, check and convert bundles. Reads files and speaks to no server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from tapehead.bundle.adopt import Adopted
    from tapehead.bundle.choices import Choices

T = TypeVar("T")
PACKAGES = ("onnx", "onnxruntime", "tomli_w")  # of the extra
INSTALL = "bundles need more than the client: pip install '.[bundle]' in the root of Tapehead's repository"

app = typer.Typer(help="Make bundles of ONNX files, and check them; no server is asked.", no_args_is_help=True)

Pairs = list[str] | None
Model = Annotated[Path, typer.Argument(help="The ONNX file; weights that lie beside it are put inside.")]
State = Annotated[
    Pairs, typer.Option("--state", metavar="INPUT=OUTPUT", help="A state: the input that takes what the output gave.")
]
NotState = Annotated[Pairs, typer.Option("--not-state", metavar="INPUT", help="An input that is no state.")]
Constant = Annotated[
    Pairs,
    typer.Option("--constant", metavar="INPUT=JSON", help="An input that is given once a session; tried with JSON."),
]
BatchAxis = Annotated[
    Pairs, typer.Option("--batch-axis", metavar="NAME=AXIS", help="Where the batch is; -1 if there is none.")
]
StepAxis = Annotated[
    Pairs,
    typer.Option("--step-axis", metavar="NAME=AXIS", help="Where steps are, many a call; 'none' if they make one."),
]
Maximum = Annotated[
    Pairs, typer.Option("--maximum", metavar="INPUT=LENGTH", help="How long a state may get that grows.")
]
Length = Annotated[
    Pairs,
    typer.Option("--length", metavar="INPUT=LENGTH", help="The one length of an axis that the graph leaves open."),
]
Initial = Annotated[
    Pairs, typer.Option("--initial", metavar="INPUT=FILE", help="What a state begins with, a .npy file; zeros if not.")
]
CarryOption = Annotated[
    Pairs,
    typer.Option("--carry", metavar="INPUT=COUNT", help="How much of an input's end goes in front of the next one."),
]


@app.command("inspect")
def inspect(
    model: Model,
    state: State = None,
    not_state: NotState = None,
    constant: Constant = None,
    batch_axis: BatchAxis = None,
    step_axis: StepAxis = None,
    maximum: Maximum = None,
    length: Length = None,
    carry: CarryOption = None,
    initial: Initial = None,
) -> None:
    """Print the manifest that `build` would write, as TOML, and in comments what the file leaves open."""
    with bundle_extra():
        from tapehead.bundle import adopt, forms

        values = _values(constant)
        choices = _choices(state, not_state, values, batch_axis, step_axis, maximum, length, carry, initial)
        draft = adopt.inspect(model, choices, values)
        typer.echo(_comments(draft, model, choices.options(values)) + forms.to_toml(draft.manifest), nl=False)


@app.command("build")
def build(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="Where to write the bundle: .../MODEL_ID/VERSION, not there yet.")],
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="A manifest in TOML or JSON, such as `inspect` prints.")
    ] = None,
    state: State = None,
    not_state: NotState = None,
    constant: Constant = None,
    batch_axis: BatchAxis = None,
    step_axis: StepAxis = None,
    maximum: Maximum = None,
    length: Length = None,
    carry: CarryOption = None,
    initial: Initial = None,
    chunk: Annotated[
        bool, typer.Option("--chunk/--no-chunk", help="Add a graph of many steps a call, if it can.")
    ] = True,
) -> None:
    """Write a bundle from an ONNX file, after trying that it steps, changes its state and can be batched."""
    told = (state, not_state, batch_axis, step_axis, maximum, length, carry, initial)
    if manifest is not None and any(told):
        raise typer.BadParameter("with --manifest nothing is guessed: write into the manifest what the options say")
    with bundle_extra():
        from tapehead.bundle import adopt

        values = _values(constant)
        choices = _choices(state, not_state, values, batch_axis, step_axis, maximum, length, carry, initial)
        written = adopt.adopt(model, folder, choices, values, form=manifest, chunks=chunk)
    for note in written.notes:
        typer.echo(f"Note: {note}", err=True)
    entries = ", ".join(entry.name for entry in written.manifest.entries)
    typer.echo(f"{folder}: written and verified; entries {entries}; state {_state_names(written)}.")


@app.command("verify")
def verify(folder: Annotated[Path, typer.Argument(help="The bundle: .../MODEL_ID/VERSION.")]) -> None:
    """Check a bundle's files, graphs and rules, and replay its probes on this machine."""
    with bundle_extra():
        from tapehead.bundle import read_manifest
        from tapehead.bundle import verify as replay

        largest = replay(folder)
        probes = len(read_manifest(folder).probes)
    typer.echo(f"{folder}: {probes} probe(s) replayed, largest difference {largest:.3g}.")


@app.command("export-triton")
def export_triton(
    folder: Annotated[Path, typer.Argument(help="The bundle: .../MODEL_ID/VERSION.")],
    repository: Annotated[Path, typer.Argument(help="The Triton model repository to write it into.")],
) -> None:
    """Write a bundle as a model of a Triton repository, its state kept by Triton's sequence batcher."""
    with bundle_extra():
        from tapehead.bundle import triton

        target = triton.export_triton(folder, repository)
    typer.echo(f"{target}: written; a Triton keeps its states in memory alone.")


@contextmanager
def bundle_extra() -> Iterator[None]:
    """Says what to install where the packages that only bundles need are missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in PACKAGES:
            raise
        raise ValueError(INSTALL) from None


def _choices(
    state: Pairs,
    not_state: Pairs,
    values: Mapping[str, object],
    batch_axis: Pairs,
    step_axis: Pairs,
    maximum: Pairs,
    length: Pairs,
    carry: Pairs,
    initial: Pairs,
) -> Choices:
    from tapehead.bundle.choices import Choices

    return Choices(
        states=_pairs(state, "--state", str, "OUTPUT"),
        not_states=frozenset(not_state or ()),
        constants=frozenset(values),
        batch_axes=_pairs(batch_axis, "--batch-axis", int, "NUMBER"),
        step_axes=_pairs(step_axis, "--step-axis", _axis, "AXIS, or none"),
        maxima=_pairs(maximum, "--maximum", int, "NUMBER"),
        lengths=_pairs(length, "--length", int, "NUMBER"),
        carries=_pairs(carry, "--carry", int, "NUMBER"),
        initials=_pairs(initial, "--initial", str, "FILE"),
    )


def _values(constant: Pairs) -> dict[str, object]:
    return _pairs(constant, "--constant", json.loads, "JSON")


def _pairs(given: Sequence[str] | None, option: str, read: Callable[[str], T], expected: str) -> dict[str, T]:
    pairs = {}
    for pair in given or ():
        name, sign, text = pair.partition("=")
        try:
            if not sign or not name:
                raise ValueError
            pairs[name] = read(text)
        except ValueError:
            raise typer.BadParameter(f"{option} {pair}: expected NAME={expected}") from None
    return pairs


def _axis(text: str) -> int | None:
    return None if text == "none" else int(text)


def _comments(draft: Adopted, model: Path, said: str) -> str:
    command = f"tapehead bundle build {model} {said}"
    lines = [f"# {len(draft.doubts)} question(s) before this can be a bundle:"] if draft.doubts else []
    for doubt in draft.doubts:
        lines += [f"# - {doubt.sentence}", f"#     {command}{doubt.option} models/{draft.manifest.model_id}/1"]
    lines += [f"# Note: {note}" for note in draft.notes]
    return "".join(f"{line}\n" for line in lines) + "\n" * bool(lines)


def _state_names(written: Adopted) -> str:
    from tapehead.bundle import whole_state

    return ", ".join(tensor.name for tensor in whole_state(written.manifest))

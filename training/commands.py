"""What the command line offers; errors of the user are one sentence and exit code 2."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .config import load_config
from .errors import TrainingError

# What needs torch, onnx or matplotlib is imported by the command that uses it: help and mistakes answer at once.

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)

ConfigFile = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="An experiment, for example one of training/configs.")
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, or cuda.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Overrides an option of the file.")]


@app.command("train")
def train_command(
    config: ConfigFile,
    seed: Annotated[int | None, typer.Option(help="Overrides the file's seed.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME-seedN by default.")] = None,
    start_from: Annotated[
        Path | None, typer.Option("--from", help="A bundle or run whose weights to start from.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Goes on from the folder's checkpoint (not from --from).")] = False,
    seeds: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N N ...", help="Trains each of these seeds, in OUT/NAME-seedN; goes on with what is there."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Of --seeds, how many at a time.")] = 1,
    device: Device = "cpu",
    overrides: Set = None,
) -> None:
    """Trains an experiment; prints and writes its result."""
    from .train import train

    if seeds:
        if seed is not None:
            raise TrainingError("--seeds and --seed: expected one of the two, got both")
        shared = [str(config), "--device", device, *([] if start_from is None else ["--from", str(start_from)])]
        shared += [word for override in overrides or () for word in ("--set", override)]
        _train_seeds(config, seeds, workers, out or Path("runs"), overrides or (), shared)
        return
    resolved = replace(load_config(config, overrides or (), seed), device=device)
    folder = out or Path("runs") / f"{resolved.name}-seed{resolved.seed}"
    typed = ["python", "-m", "training", "train", str(config)]
    typed += [] if seed is None else ["--seed", str(seed)]
    typed += [] if start_from is None else ["--from", str(start_from)]
    typed += [] if out is None else ["--out", str(out)]
    typed += [] if device == "cpu" else ["--device", device]
    typed += [word for override in overrides or () for word in ("--set", override)]
    command = _command_of(start_from) + shlex.join(typed)
    result = train(resolved, folder, warm_start=start_from, resume=resume, command=command)
    _print_measured(result)
    typer.echo(f"{folder}: best weights of update {result['best_update']}, {result['seconds']:.0f} s")


def _train_seeds(
    config: Path, seeds: Sequence[int], workers: int, out: Path, overrides: Sequence[str], shared: Sequence[str]
) -> None:
    from .restarts import summary_lines, train_seeds

    for line in summary_lines(train_seeds(config, seeds, workers, out, overrides, shared)):
        typer.echo(line)


@app.command("evaluate")
def evaluate_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A run or a bundle.")],
    device: Device = "cpu",
) -> None:
    """Measures what was trained on data that was not trained on, and shows a few examples."""
    from .evaluate import evaluate

    validation, test, samples = evaluate(folder, device)
    _print_measured({"validation": validation, "test": test})
    typer.echo(samples)


@app.command("export")
def export_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run, or of a bundle.")],
    version: Annotated[int, typer.Option(min=1, help="The bundle's version.")] = 1,
    out: Annotated[Path, typer.Option(help="The folder of bundles.")] = Path("models"),
    beside: Annotated[list[Path] | None, typer.Option(help="Another seed's run, for the card; repeatable.")] = None,
    note: Annotated[str, typer.Option(help="What to say in the card below the results.")] = "",
    replace: Annotated[bool, typer.Option(help="Overwrites the bundle that is there.")] = False,
) -> None:
    """Exports a run's best weights as a bundle, if onnxruntime and PyTorch agree."""
    from tapehead.bundle import read_manifest

    from .export import export, node_counts

    folder = export(run, out, version, beside or (), note=note, replace=replace)
    size = sum(path.stat().st_size for path in folder.iterdir())
    difference = read_manifest(folder).provenance.export_difference
    typer.echo(f"{folder}: {size / 1024:.0f} KiB, probes verified, at most {difference:.1g} from PyTorch")
    for file, (written, optimised) in node_counts(folder).items():
        typer.echo(f"{file}: {written} nodes, {optimised} after onnxruntime's optimisation")


@app.command("card")
def card_command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder of a bundle.")],
    result: Annotated[
        list[Path] | None, typer.Option(help="A result file, the shipped run's first; those it has kept by default.")
    ] = None,
    note: Annotated[str | None, typer.Option(help="What to say below the results; what it says by default.")] = None,
) -> None:
    """Writes a bundle's card and pictures again; graphs and weights keep their bytes."""
    from .refresh import refresh

    typer.echo(refresh(bundle, result or (), note))


@app.command()
def plot(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="A run or a bundle; or several runs or result files.")
    ],
    out: Annotated[Path | None, typer.Option(help="The folder for the pictures; the run's own by default.")] = None,
) -> None:
    """Draws what a network does and its learning curve; or, of several, how they compare."""
    from .drawing import draw_all

    for path in draw_all(paths, out):
        typer.echo(path)


@app.command("reproduce")
def reproduce_command(
    run: Annotated[
        str | None, typer.Option(metavar="ROW", help="Trains a row's runs first, as far as they are not there (long).")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Of --run, how many runs at a time.")] = 1,
    out: Annotated[Path, typer.Option(help="Where results.md and results.png go.")] = Path("docs"),
) -> None:
    """Prints the papers' tables beside ours, from training/results, and writes them to docs."""
    from .campaign import run_row
    from .reproduce import find_row, reproduce

    if run is not None:
        for path in run_row(find_row(run), workers):
            typer.echo(path)
    typer.echo(reproduce(out))


@app.command("profile")
def profile_command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Configurations by name; one of every family.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; that of docs/results.md by default.")] = None,
) -> None:
    """Measures where the time of a training update goes."""
    from .profiling import PROFILE, PROFILED, profile_configs, profile_lines

    head, lines = profile_lines(profile_configs(names or PROFILED, out or PROFILE))
    for line in (head, *lines):
        typer.echo("  ".join(line))


def _command_of(start_from: Path | None) -> str:
    """The command that made the run to start from, as the beginning of a longer one; nothing for a bundle."""
    path = start_from / "result.json" if start_from else Path()
    return f"{json.loads(path.read_text(encoding='utf-8'))['command']} &&\n" if path.is_file() else ""


def _print_measured(measured: Mapping[str, Mapping[str, float]]) -> None:
    for part in ("validation", "test"):
        typer.echo(f"{part}: " + ", ".join(f"{name} {value:.4g}" for name, value in measured[part].items()))


def spread(arguments: Sequence[str]) -> list[str]:
    """`--seeds 1 2 3` as options are read: `--seeds 1 --seeds 2 --seeds 3`."""
    words: list[str] = []
    of_seeds = False
    for word in arguments:
        if of_seeds and word.isdecimal():
            words += ["--seeds", word] if words[-1] != "--seeds" else [word]
            continue
        of_seeds = word == "--seeds"
        words.append(word)
    return words


def main() -> None:
    """Runs the command line."""
    try:
        app(spread(sys.argv[1:]))
    except TrainingError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped; go on with the same command and --resume")
        sys.exit(130)

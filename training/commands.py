"""What the command line offers; errors of the user are one sentence and exit code 2."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .config import load_config
from .errors import TrainingError
from .figures import draw_curve
from .train import train

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="An experiment, for example one of training/configs.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Overrides an option of the file.")]


@app.command("train")
def train_command(
    config: ConfigFile,
    seed: Annotated[int | None, typer.Option(help="Overrides the file's seed.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME-seedN by default.")] = None,
    start_from: Annotated[Path | None, typer.Option("--from", help="A bundle whose weights to start from.")] = None,
    resume: Annotated[bool, typer.Option(help="Goes on from the folder's checkpoint.")] = False,
    overrides: Set = None,
) -> None:
    """Trains an experiment; prints and writes its result."""
    resolved = load_config(config, overrides or (), seed)
    folder = out or Path("runs") / f"{resolved.name}-seed{resolved.seed}"
    result = train(resolved, folder, warm_start=start_from, resume=resume)
    for part in ("validation", "test"):
        typer.echo(f"{part}: " + ", ".join(f"{name} {value:.4g}" for name, value in result[part].items()))
    typer.echo(f"{folder}: best weights of update {result['best_update']}, {result['seconds']:.0f} s")


@app.command()
def plot(run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]) -> None:
    """Draws a run's learning curve again."""
    typer.echo(draw_curve(run))


def main() -> None:
    """Runs the command line."""
    try:
        app()
    except TrainingError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped; go on with the same command and --resume")
        sys.exit(130)

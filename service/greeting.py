"""What a server says of itself once it serves: what it holds, and lines that work when they are copied."""

from __future__ import annotations

import json
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .hosting.model import Model
from .settings import Settings
from .store.base import Durability

DEFAULT_ADDRESS = "127.0.0.1:8001"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server really listens, HOST:PORT."""

    grpc: str
    metrics: str

    def ready_line(self) -> str:
        return f"READY grpc={self.grpc} metrics={self.metrics}"

    def as_json(self) -> str:
        return json.dumps({"grpc": self.grpc, "metrics": self.metrics}) + "\n"


def print_tables(
    console: Console,
    models: list[Model],
    broken: dict[str, str],
    store: str,
    durability: Durability,
    settings: Settings,
) -> None:
    """Prints what is served, and under which limits."""
    table = Table(title="Models", title_justify="left", show_edge=False, pad_edge=False)
    rows = [_row(model) for model in models]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    for column, width in zip(_COLUMNS, widths, strict=True):
        table.add_column(column, no_wrap=True, min_width=width)
    # A line a model: what is left of it beside the others and the rules between them; `tapehead models show` has all.
    room = max(1, console.width - sum(width + len(" | ") for width in widths))
    table.add_column("description", no_wrap=True, overflow="ellipsis", max_width=room)
    for model, row in zip(models, rows, strict=True):
        table.add_row(*row, model.manifest.description)
    facts = Table(show_header=False, show_edge=False, pad_edge=False, box=None)
    facts.add_row("store", store)
    facts.add_row("durability", f"{durability.name.lower()}: a committed step survives {_SURVIVES[durability]}")
    facts.add_row(
        "limits",
        f"{settings.max_streams} streams, {settings.max_live_sessions} sessions in memory, "
        f"{settings.max_waiting_steps} waiting steps, {settings.max_message_bytes >> 10} KiB a message",
    )
    console.print(table, "")
    for name, reason in broken.items():
        console.print(f"[red]not served:[/red] {escape(name)}: {escape(reason)}", "")
    console.print(facts, "")


_COLUMNS = ("model", "version", "state", "batch")


def _row(model: Model) -> tuple[str, ...]:
    size = f"{model.state_bytes / 1024:.1f} KiB" if model.state_bytes >= 1024 else f"{model.state_bytes} B"
    return model.model_id, str(model.version), size, str(model.max_batch) if model.batch_invariant else "1"


_SURVIVES = {
    Durability.MEMORY: "as long as this process lives",
    Durability.PROCESS: "kill -9 of this process",
    Durability.DISK: "the loss of power",
}


def first_lines(addresses: Addresses, models: list[Model]) -> str:
    """Returns lines to copy, for what is served."""
    server = "" if addresses.grpc == DEFAULT_ADDRESS else f" --server {addresses.grpc}"
    connect = "" if addresses.grpc == DEFAULT_ADDRESS else f'"{addresses.grpc}"'
    answering = next((model for model in models if model.kind == "question_answering"), None)
    sequence = [model for model in models if model.kind == "sequence"]
    stepping = min(sequence, key=lambda model: model.model_id != "ntm-copy", default=None)  # that one, if it is there
    lines = ["Try, in another terminal (after `. .venv/bin/activate` in a clone):", ""]
    if answering is not None:
        lines += _question_lines(answering, addresses, server)
    if stepping is not None:
        lines += _step_lines(stepping, server, connect)
    lines += [f"  curl -s http://{addresses.metrics}/metrics | grep ^tapehead_steps_total", ""]
    return "\n".join(lines)


def _question_lines(model: Model, addresses: Addresses, server: str) -> list[str]:
    story = ["Mary moved to the bathroom.", "John went to the hallway."]
    request = {"model_id": model.model_id, "story": {"sentences": story}, "question": "Where is Mary?"}
    printed = "".join(sentence + "\\n" for sentence in story)
    return [
        f"  printf '{printed}' | tapehead ask --story - --model {model.model_id} \"Where is Mary?\"{server}",
        "",
        f"  buf curl --protocol grpc --http2-prior-knowledge -d '{json.dumps(request)}' \\",
        f"    http://{addresses.grpc}/tapehead.v1.QuestionService/Ask",
        "",
    ]


def _step_lines(model: Model, server: str, connect: str) -> list[str]:
    inputs = model.entries["step"].inputs
    if len(inputs) != 1 or model.constants or "start" in model.entries:
        return [f"  tapehead models show {model.model_id}{server}", ""]
    spec = inputs[0]
    shape = (5, *(1 if length < 0 else length for length in spec.shape))
    lines = [f"  tapehead stream {model.model_id} --copy 20{server}", ""] if model.model_id == "ntm-copy" else []
    return [
        *lines,
        "  python - <<'END'",
        "  import numpy, tapehead",
        f'  with tapehead.connect({connect}) as client, client.session("{model.model_id}") as session:',
        f"      for result in session.stream(numpy.zeros({shape}, numpy.{spec.dtype.name})):",
        "          print(result.step, result.output)",
        "  END",
        "",
    ]

"""Where the time of a training update goes, for one configuration of every family: `python -m training profile`.

The times are of the processor, not of the clock, so that other work on the machine changes them little.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from .checkpoint import write_atomically
from .config import Config, load_config
from .device import describe_machine
from .experiment import Experiment, build

PROFILE = Path(__file__).parent / "profile.json"
CONFIGS = Path(__file__).parent / "configs"
# One configuration for each family of networks.
PROFILED = (
    "babi-joint",
    "babi-memory-joint",
    "babi-entity",
    "babi-reader-lstm",
    "ntm-copy",
    "ntm-content-only",
    "lstm-copy",
    "gru-copy",
    "rnn-copy",
    "attention-captions",
    "attention-translate",
)
UPDATES = 12  # timed; the median counts, because batches differ in size
SHOWN = 3  # operators that are named
OWN = ("autograd::engine::evaluate_function", "ProfilerStep", "enumerate(", "Optimizer.")  # no operators

Profile = dict[str, Any]


def profile_configs(names: Sequence[str] = PROFILED, out: Path = PROFILE) -> list[Profile]:
    """Profiles configurations, in the order of their names here, and writes OUT. Raises TrainingError."""
    torch.set_num_threads(1)
    found = [profile_config(load_config(CONFIGS / f"{name}.toml", seed=1)) for name in names]
    write_atomically(out, (json.dumps(found, indent=2) + "\n").encode())
    return found


def read_profiles(path: Path = PROFILE) -> list[Profile]:
    """What `profile_configs` wrote; nothing where it did not."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def profile_config(config: Config, updates: int = UPDATES) -> Profile:
    """One configuration: milliseconds of an update by part, and the operators that take most of it.

    `compiled` is an update's milliseconds with the compiled step, where the recipe compiles; parts and operators are of
    the step as it is written, because a compiled one has other operators.
    """
    recipe = {**config.recipe, "compile": False} if "compile" in config.recipe else config.recipe
    written, middle = build(_with_recipe(config, recipe)), config.updates // 2  # what comes first is another phase
    parts = _time(written, middle, updates)
    measured = {
        "name": config.name,
        "parameters": sum(parameter.numel() for parameter in written.network.parameters()),
        "milliseconds": {part: round(median(times) * 1000, 2) for part, times in parts.items()},
        "operators": _operators(written, middle),
        "machine": describe_machine(torch.device("cpu")),
    }
    if config.recipe.get("compile"):
        compiled = _time(build(config), middle, updates)
        measured["compiled"] = round(1000 * median(map(sum, zip(*compiled.values(), strict=True))), 2)
    return measured


def _with_recipe(config: Config, recipe: dict[str, Any]) -> Config:
    return Config(**{**config.table(), "recipe": recipe, "where": config.where, "device": config.device})


def _time(experiment: Experiment, first: int, updates: int) -> dict[str, list[float]]:
    """Seconds of the processor for each part of some updates from `first` on, after one that does not count."""
    parts: dict[str, list[float]] = {"forward": [], "backward": [], "update": []}
    for number in range(updates + 1):
        loss, forward = _timed(lambda number=number: _forward(experiment, first + number))  # type: ignore[misc]
        _, backward = _timed(loss.backward)
        _, update = _timed(lambda: _update(experiment))
        if number:
            for part, seconds in zip(parts.values(), (forward, backward, update), strict=True):
                part.append(seconds)
    return parts


def _timed(act: Callable[[], Any]) -> tuple[Any, float]:
    before = time.process_time()
    return act(), time.process_time() - before


def _forward(experiment: Experiment, update: int) -> torch.Tensor:
    experiment.network.train()
    experiment.set_update(update)
    experiment.optimizer.zero_grad(set_to_none=True)
    return experiment.loss(update)


def _update(experiment: Experiment) -> None:
    experiment.clip()
    experiment.optimizer.step()


def _operators(experiment: Experiment, first: int) -> dict[str, float]:
    """The operators with the largest shares of an update, forward and backward together, in percent."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for number in range(3):
            _forward(experiment, first + number).backward()  # type: ignore[no-untyped-call]
            _update(experiment)
    events = [event for event in seen.key_averages() if not event.key.startswith(OWN)]
    total = sum(event.self_cpu_time_total for event in seen.key_averages())
    events.sort(key=lambda event: -event.self_cpu_time_total)
    shares = {event.key.removeprefix("aten::"): event.self_cpu_time_total / total for event in events[:SHOWN]}
    return {name: round(100 * share, 1) for name, share in shares.items()}


def profile_lines(profiles: Sequence[Profile]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The head and the lines of a table."""
    head = ("configuration", "parameters", "ms an update", "compiled", "forward", "backward", "optimizer")
    lines = []
    for one in profiles:
        parts = one["milliseconds"]
        total = sum(parts.values())
        shares = (f"{100 * parts[part] / total:.0f} %" for part in ("forward", "backward", "update"))
        operators = ", ".join(f"{name} {share:.0f} %" for name, share in one["operators"].items())
        compiled = f"{one['compiled']:.1f}" if "compiled" in one else ""
        lines.append((one["name"], f"{one['parameters']:,}", f"{total:.1f}", compiled, *shares, operators))
    return (*head, "most of it"), lines

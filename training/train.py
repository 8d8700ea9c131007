"""Trains one experiment: a flat loop that reads in the order in which things happen.

    python -m training train training/configs/ntm-copy.toml --seed 2

A run's folder has config.toml (as resolved), metrics.jsonl (one line a validation), checkpoint.safetensors (to resume),
best.safetensors (the weights with the lowest validation score), curve.png and result.json. Whenever the process is
killed, every file is whole, and the run resumes at its last validation.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .checkpoint import (
    find_weights,
    pack_optimizer,
    read_tensors,
    unpack_optimizer,
    with_prefix,
    without_prefix,
    write_atomically,
    write_tensors,
)
from .config import Config, write_toml
from .device import describe_machine, find_device
from .errors import TrainingError
from .experiment import Experiment, build, load_weights
from .figures import draw_curve
from .results import curve_of, write_result

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two processes apart there
    fcntl = None  # type: ignore[assignment]

OWN_FILES = ("config.toml", "train.log")  # what may lie in the folder of a run that has not begun


def train(
    config: Config, folder: Path, *, warm_start: Path | None = None, resume: bool = False, command: str = ""
) -> dict[str, Any]:
    """Trains until `config.updates` and returns the result (also result.json).

    `warm_start` is the folder of a bundle or of a run whose weights the network starts from. `resume` goes on from the
    folder's checkpoint and gives the same bits as a run that was never interrupted; without a checkpoint, because the
    run was killed before it wrote one, it begins. `command` is what was typed, to be kept with the result. Raises
    TrainingError.
    """
    torch.set_num_threads(1)  # the networks are small; more threads cost more than they bring
    if resume and not folder.is_dir():
        raise TrainingError(f"{folder}: nothing to resume; expected the folder of a run")
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        return _train(config, folder, warm_start, resume, command)


def _train(config: Config, folder: Path, warm_start: Path | None, resume: bool, command: str) -> dict[str, Any]:
    resume = resume and _has_begun(folder)
    if not resume:
        _check_new(folder)
    experiment = build(config)
    network, optimizer = experiment.network, experiment.optimizer
    if warm_start is not None and not resume:
        weights = find_weights(warm_start)
        load_weights(network, read_tensors(weights)[0], weights)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    done, best, seconds = 0, math.inf, 0.0
    if resume:
        done, best, seconds = _resume(config, folder, experiment, average)
    else:
        write_atomically(folder / "config.toml", write_toml(config.table()).encode())
        _save(folder, experiment, average, {"update": 0, "best": best, "seconds": seconds})

    losses: list[float] = []
    started = time.monotonic() - seconds
    progress = tqdm(
        range(done + 1, config.updates + 1),
        initial=done,
        total=config.updates,
        unit="update",
        mininterval=0.1 if sys.stderr.isatty() else 10,  # a log needs no moving picture
    )
    for update in progress:
        network.train()
        experiment.set_update(update)
        optimizer.zero_grad(set_to_none=True)
        loss = experiment.loss(update)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise TrainingError(f"{folder}: the loss of update {update} is {losses[-1]}; lower the learning rate")
        loss.backward()  # type: ignore[no-untyped-call]
        experiment.clip()
        optimizer.step()
        if config.average:
            _update_average(average, network, config.average, update)
        if update % config.evaluate_every and update != config.updates:
            continue

        last = {name: value.clone() for name, value in network.state_dict().items()}
        if config.average:
            network.load_state_dict(average)
        measured = _validate(experiment)
        seconds = time.monotonic() - started
        row = {"update": update, "seconds": round(seconds, 1), "loss": sum(losses) / len(losses), **measured}
        losses.clear()
        with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if not measured["score"] > best:  # also where it is no number: weights are kept in any case
            best = measured["score"]
            write_tensors(folder / "best.safetensors", network.state_dict(), row)
        network.load_state_dict(last)
        _save(folder, experiment, average, {"update": update, "best": best, "seconds": seconds})
        draw_curve(folder)
        progress.set_postfix(loss=f"{row['loss']:.4g}", score=f"{measured['score']:.4g}", best=f"{best:.4g}")
    return _finish(config, folder, experiment, {"seconds": round(seconds, 1), "command": command})


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps a second process from training in the same folder; the lock goes with the process that holds it."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise TrainingError(f"{folder}: another process trains here; expected to be alone") from None
    finally:
        os.close(handle)


def _has_begun(folder: Path) -> bool:
    return (folder / "checkpoint.safetensors").is_file()


def _check_new(folder: Path) -> None:
    if any(path.name not in OWN_FILES and path.suffix != ".partial" for path in folder.iterdir()):
        raise TrainingError(f"{folder}: is not empty; expected a new folder (or --resume to go on with its run)")


def _resume(
    config: Config, folder: Path, experiment: Experiment, average: dict[str, torch.Tensor]
) -> tuple[int, float, float]:
    before = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    if before != tomllib.loads(write_toml(config.table())):
        raise TrainingError(
            f"{folder}: its config.toml is of another configuration than {config.where} (or seed, --set)"
        )
    tensors, facts = read_tensors(folder / "checkpoint.safetensors")
    experiment.network.load_state_dict(without_prefix("network", tensors))
    unpack_optimizer(experiment.optimizer, without_prefix("optimizer", tensors), facts["optimizer"])
    experiment.load_state(without_prefix("experiment", tensors))
    for name, value in without_prefix("average", tensors).items():
        average[name].copy_(value)
    experiment.generator.set_state(tensors["generator"])
    torch.set_rng_state(tensors["global_generator"])
    if "device_generator" in tensors:
        torch.cuda.set_rng_state(tensors["device_generator"])
    metrics = folder / "metrics.jsonl"
    rows = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
    kept = [row for row in rows if row.endswith("}") and json.loads(row)["update"] <= facts["update"]]
    write_atomically(metrics, "".join(row + "\n" for row in kept).encode())
    return facts["update"], facts["best"], facts["seconds"]


def _save(folder: Path, experiment: Experiment, average: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    optimizer_tensors, optimizer_facts = pack_optimizer(experiment.optimizer)
    tensors = {
        **with_prefix("network", experiment.network.state_dict()),
        **with_prefix("optimizer", optimizer_tensors),
        **with_prefix("experiment", experiment.state()),
        **with_prefix("average", average),
        "generator": experiment.generator.get_state(),
        "global_generator": torch.get_rng_state(),
    }
    if next(experiment.network.parameters()).is_cuda:
        tensors["device_generator"] = torch.cuda.get_rng_state()
    write_tensors(folder / "checkpoint.safetensors", tensors, {**facts, "optimizer": optimizer_facts})


def _update_average(average: dict[str, torch.Tensor], network: torch.nn.Module, decay: float, update: int) -> None:
    kept = min(decay, (1 + update) / (10 + update))  # follows quickly while the weights still move far
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - kept)
        else:
            average[name].copy_(value)


def _validate(experiment: Experiment) -> dict[str, float]:
    experiment.network.eval()
    with torch.no_grad():
        return experiment.validate()


def _finish(config: Config, folder: Path, experiment: Experiment, facts_of_run: dict[str, Any]) -> dict[str, Any]:
    weights, facts = read_tensors(folder / "best.safetensors")
    load_weights(experiment.network, weights, folder / "best.safetensors")
    experiment.network.eval()
    with torch.no_grad():
        test = experiment.test()
    result = {
        "name": config.name,
        "seed": config.seed,
        "updates": config.updates,
        **facts_of_run,
        "revision": _revision(),
        "machine": describe_machine(find_device(config.device)),
        "parameters": sum(parameter.numel() for parameter in experiment.network.parameters()),
        "best_update": facts["update"],
        "validation": {name: value for name, value in facts.items() if name not in ("update", "seconds", "loss")},
        "test": test,
        "config": config.table(),
        "curve": curve_of(folder),
    }
    write_result(folder / "result.json", result)
    return result


def _revision() -> str:
    """The latest source revision of training, or nothing where this is no clone."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "log", "-1", "--format=%h", "--", "."]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""

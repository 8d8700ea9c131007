"""Loads what was trained, from a run or a bundle, and measures it on data that neither trained nor chose it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from .checkpoint import read_tensors
from .config import Config, load_config
from .errors import TrainingError
from .experiment import Experiment, build, load_weights

WEIGHTS = ("best.safetensors", "weights.safetensors")  # of a run; of a bundle


def load_trained(folder: Path) -> tuple[Config, Experiment]:
    """The experiment of a run's or a bundle's folder, with its trained weights; raises TrainingError."""
    torch.set_num_threads(1)
    if not folder.is_dir():
        raise TrainingError(f"{folder}: no such folder; expected a training run or a bundle")
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise TrainingError(f"{folder}: expected {WEIGHTS[0]} (a run) or {WEIGHTS[1]} (a bundle), found neither")
    config = replace(load_config(folder / "config.toml"), where=str(folder / "config.toml"))
    experiment = build(config)
    load_weights(experiment.network, read_tensors(weights)[0], weights)
    experiment.network.eval()
    return config, experiment


def evaluate(folder: Path) -> tuple[dict[str, float], dict[str, float], str]:
    """Measures a run's or bundle's network: (validation, test, samples for people)."""
    _, experiment = load_trained(folder)
    with torch.no_grad():
        return experiment.validate(), experiment.test(), experiment.samples()

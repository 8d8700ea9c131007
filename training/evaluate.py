"""Loads what was trained, from a run or a bundle, and measures it on data that neither trained nor chose it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from .checkpoint import find_weights, read_tensors
from .config import Config, load_config
from .experiment import Experiment, build, load_weights


def load_trained(folder: Path, device: str = "cpu") -> tuple[Config, Experiment]:
    """The experiment of a run's or a bundle's folder, with its trained weights; raises TrainingError."""
    torch.set_num_threads(1)
    weights = find_weights(folder)
    config = replace(load_config(folder / "config.toml"), where=str(folder / "config.toml"), device=device)
    experiment = build(config)
    load_weights(experiment.network, read_tensors(weights)[0], weights)
    experiment.network.eval()
    return config, experiment


def evaluate(folder: Path, device: str = "cpu") -> tuple[dict[str, float], dict[str, float], str]:
    """Measures a run's or bundle's network: (validation, test, samples for people)."""
    _, experiment = load_trained(folder, device)
    with torch.no_grad(), tqdm(total=3, unit="part", leave=False) as progress:
        validation = experiment.validate()
        progress.update()
        test = experiment.test()
        progress.update()
        return validation, test, experiment.samples()

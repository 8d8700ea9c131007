"""What a configuration builds: a network, its task and its recipe, behind one protocol that the frame drives."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch

from tapehead.v1.manifest_pb2 import Manifest

from .config import Config
from .errors import TrainingError

Array = np.ndarray[Any, Any]
Call = tuple[str, dict[str, Array]]  # an entry's name and its inputs, without batch axis

# One module a family of tasks; each has `build(config: Config) -> Experiment`.
FAMILIES = {
    "sequences": "training.tasks.sequences",
    "babi": "training.tasks.babi",
    "captions": "training.tasks.captions",
    "translation": "training.tasks.translation",
}


@dataclass(frozen=True)
class Graphs:
    """What the exporter turns into a bundle.

    `manifest` carries kind, description, entries, state and question_answering; the exporter fills in model, version,
    initial files, provenance, probes and hashes. `modules[entry]` takes the entry's inputs and then (if it reads state)
    every state tensor, in the manifest's order, each with batch axis 0, and returns a tuple: the outputs, then (if it
    writes state) the next state. `initial` has each state tensor's initial value, without batch axis.
    """

    manifest: Manifest
    modules: Mapping[str, torch.nn.Module]
    initial: Mapping[str, Array]
    probes: Sequence[Sequence[Call]]  # real input, each run from the initial state; recorded in the bundle
    checks: Sequence[Sequence[Call]]  # random input; compared with PyTorch but not recorded
    opset: int = 20
    figures: Mapping[str, bytes] = field(default_factory=dict)  # file name -> png, shown in the card
    notes: str = ""  # markdown for the card: the task, the recipe, what the figures show


class Experiment(Protocol):
    """A network on a task with a recipe.

    All randomness of training is drawn from `generator` or from torch's global generator (dropout): the frame saves and
    restores both, so that a resumed run has the bits of an uninterrupted one.
    """

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator

    def set_update(self, update: int) -> None:
        """Sets what depends on the update (1, 2, ... config.updates): learning rate, phases."""

    def loss(self, update: int) -> torch.Tensor:
        """Draws the next batch and returns its loss, a scalar."""

    def clip(self) -> None:
        """Clips the gradients as this recipe wants it."""

    def validate(self) -> dict[str, float]:
        """Measures the network on fixed validation data; `score` (lower is better) chooses the kept weights."""

    def test(self) -> dict[str, float]:
        """Measures the network on data that neither trained nor chose it."""

    def samples(self) -> str:
        """Renders a few examples, with what the network makes of them, for people."""

    def figures(self) -> dict[str, bytes]:
        """Draws what the network does as small PNG files, by file name."""

    def state(self) -> dict[str, torch.Tensor]:
        """Whatever else an exact resume needs; the frame handles network, optimizer and generators."""

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Takes back what `state` gave."""

    def graphs(self) -> Graphs:
        """What the exporter needs."""


def build(config: Config) -> Experiment:
    """Builds the experiment that a configuration describes; raises TrainingError for options that are wrong."""
    module = FAMILIES.get(config.family)
    if module is None:
        raise TrainingError(f"{config.where}: family: expected one of {', '.join(FAMILIES)}, got {config.family!r}")
    torch.manual_seed(config.seed)
    return cast(Experiment, importlib.import_module(module).build(config))


def load_weights(network: torch.nn.Module, weights: Mapping[str, torch.Tensor], where: Path) -> None:
    """Loads weights by name; raises TrainingError if names or shapes are not the network's."""
    own = network.state_dict()
    if missing := sorted(own.keys() - weights.keys()):
        raise TrainingError(f"{where}: expected a tensor {missing[0]!r} for this network, found none of that name")
    if extra := sorted(weights.keys() - own.keys()):
        raise TrainingError(f"{where}: tensor {extra[0]!r} is not part of this network")
    for name, value in own.items():
        if weights[name].shape != value.shape:
            got = tuple(weights[name].shape)
            raise TrainingError(f"{where}: tensor {name!r}: expected shape {tuple(value.shape)}, got {got}")
    network.load_state_dict(dict(weights))

"""The family of bAbI experiments."""

from __future__ import annotations

from collections.abc import Callable

from ..config import Config
from ..errors import TrainingError
from ..experiment import Experiment
from .babi_entity import EntityExperiment
from .babi_joint import JointExperiment
from .babi_memory import MemoryExperiment
from .babi_reader import ReaderExperiment

KINDS: dict[str, Callable[[Config], Experiment]] = {
    "joint": JointExperiment,
    "memory": MemoryExperiment,
    "entity": EntityExperiment,
    "reader": ReaderExperiment,
}


def build(config: Config) -> Experiment:
    """The experiment that a configuration describes; raises TrainingError for options that are wrong."""
    kind = config.network.get("kind", "memory")
    if kind not in KINDS:
        raise TrainingError(f"{config.where}: network.kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    return KINDS[kind](config)

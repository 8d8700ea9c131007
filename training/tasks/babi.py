"""The family of bAbI experiments."""

from __future__ import annotations

from ..config import Config
from ..errors import TrainingError
from ..experiment import Experiment
from .babi_entity import EntityExperiment
from .babi_joint import JointExperiment
from .babi_memory import MemoryExperiment

KINDS: dict[str, type[JointExperiment] | type[MemoryExperiment] | type[EntityExperiment]] = {
    "joint": JointExperiment,
    "memory": MemoryExperiment,
    "entity": EntityExperiment,
}


def build(config: Config) -> Experiment:
    """The experiment that a configuration describes; raises TrainingError for options that are wrong."""
    kind = config.network.get("kind", "memory")
    if kind not in KINDS:
        raise TrainingError(f"{config.where}: network.kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    return KINDS[kind](config)

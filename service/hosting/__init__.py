"""Hosts bundles: checks them, runs them, finds them by id and version."""

from .model import Arrays, EntrySpec, Model, TensorSpec
from .repository import Repository, load_model
from .runner import Runner
from .selfcheck import check_batches
from .verdict import EntryVerdict, Verdict

__all__ = [
    "Arrays",
    "EntrySpec",
    "EntryVerdict",
    "Model",
    "Repository",
    "Runner",
    "TensorSpec",
    "Verdict",
    "check_batches",
    "load_model",
]

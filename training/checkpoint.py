"""Checkpoints: everything an exact resume needs, in one safetensors file that is replaced atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .errors import TrainingError

WEIGHTS = ("best.safetensors", "weights.safetensors")  # of a run; of a bundle


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any] | None = None) -> None:
    """Writes tensors, and facts as JSON in the file's header; a reader sees the old file or the new one, never half."""
    data = save(
        {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()},
        metadata={"facts": json.dumps(facts or {})},
    )
    write_atomically(path, data)


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces a file: whoever is killed, or loses power, leaves the old one or the new one behind, never half."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Reads what `write_tensors` wrote; raises TrainingError if the file is missing or is no safetensors file."""
    if not path.is_file():
        raise TrainingError(f"{path}: no such file; expected weights in safetensors format")
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise TrainingError(f"{path}: not a readable safetensors file: {error}") from None
    return tensors, json.loads(metadata.get("facts", "{}"))


def find_weights(folder: Path) -> Path:
    """The file of trained weights of a run or of a bundle; raises TrainingError if there is none."""
    if not folder.is_dir():
        raise TrainingError(f"{folder}: no such folder; expected a training run or a bundle")
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise TrainingError(f"{folder}: expected {WEIGHTS[0]} (a run) or {WEIGHTS[1]} (a bundle), found neither")


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Splits an optimizer's state into tensors and plain facts."""
    state = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    scalars: dict[str, Any] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            target: dict[str, Any] = tensors if isinstance(value, torch.Tensor) else scalars
            target[f"{index}.{name}"] = value
    return tensors, {"groups": state["param_groups"], "scalars": scalars}


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]
) -> None:
    """Takes back what `pack_optimizer` gave."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **facts["scalars"]}.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": facts["groups"]})


def with_prefix(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Renames tensors to `prefix.name`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors named `prefix.name`, as `name`."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}

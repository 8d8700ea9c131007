"""Where a run computes: the processor, or a device that PyTorch knows."""

from __future__ import annotations

import os
import platform
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from .errors import TrainingError

Batch = TypeVar("Batch", bound=Any)


def find_device(name: str) -> torch.device:
    """The device of that name; raises TrainingError if this machine, or this build of PyTorch, has none."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # PyTorch asserts that it was built for CUDA
        reason = str(error).splitlines()[0][:160]
        raise TrainingError(
            f"--device {name}: expected cpu or a device that PyTorch {torch.__version__} finds here: {reason}"
        ) from None
    return device


def move(batch: Batch, device: torch.device) -> Batch:
    """A dataclass with all its tensors on a device; the rest stays as it is."""
    tensors = {field.name: getattr(batch, field.name) for field in fields(batch)}
    moved = {name: value.to(device) for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    return replace(batch, **moved)


def describe_machine(device: torch.device) -> str:
    """What the run computed on, for its result: the device, the cores of the machine, PyTorch's version."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"one core of {_processor()}"
    return f"{name}, {os.cpu_count()} cores in all, {platform.system()}, PyTorch {torch.__version__}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

"""Delayed echo: the smallest task that needs a memory. It trains in seconds, for tests and first tries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..errors import TrainingError
from .copying import random_bits
from .sequence_task import Batch, Longer, Size, TaskOptions

NOTES = """Delayed echo: {bits} random bits a step; `y` is to be what was shown {delay} steps before, from step
{first} on. Sequences of {length} steps; "at N" is measured over sequences of N steps."""


@dataclass(frozen=True)
class EchoOptions(TaskOptions):
    """The [task] table of kind "delayed-echo"."""

    kind: str = "delayed-echo"
    bits: int = 1
    delay: int = 3
    length: int = 20
    test_lengths: tuple[int, ...] = (100,)


class DelayedEcho:
    """Say now what was shown some steps ago."""

    def __init__(self, options: EchoOptions, where: str) -> None:
        if wrong := [length for length in (options.length, *options.test_lengths) if not 1 <= options.delay < length]:
            raise TrainingError(f"{where}: expected 1 <= delay < every length, got {options.delay} and {wrong[0]}")
        self.options = options
        self.inputs: tuple[tuple[str, int], ...] = (("bits", options.bits),)
        self.outputs: tuple[tuple[str, int], ...] = (("bits", options.bits),)
        self.description = f"Echoes what it is shown {options.delay} steps later"
        self.notes = NOTES.format(**vars(options), first=options.delay + 1)

    def sizes(self) -> Sequence[Size]:
        return [(self.options.length,)]

    def beyond(self) -> Mapping[str, Size]:
        return {f"at_{length}": (length,) for length in self.options.test_lengths}

    def longer(self) -> Longer | None:
        return None

    def batch(self, size: Size, count: int, generator: torch.Generator) -> Batch:
        inputs = random_bits(size[0], count, self.options.bits, generator)
        return Batch(inputs, inputs[: -self.options.delay].clone())

    def title(self, size: Size) -> str:
        return f"{size[0]} steps"

"""Copy and repeat copy, as in the NTM paper (Graves et al. 2014, sections 4.1 and 4.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import TrainingError
from .sequence_task import Batch, Longer, Size, TaskOptions

COPY_NOTES = """The copy task of Graves, Wayne and Danihelka (2014): {shortest} to {longest} vectors of {bits} random
bits, one a step, then a step with only the delimiter (the last channel), then one step of zeros for each vector to give
back; `y` is to be read at those last steps. Trained on lengths {shortest} to {longest} only; "at N" is measured over
sequences of length N."""

REPEAT_NOTES = """The repeat copy task of Graves, Wayne and Danihelka (2014): 1 to {longest} vectors of {bits} random
bits, one a step, then a step with how often to give them back (1 to {most_repeats}, normalised to mean 0 and variance 1
over the numbers trained on) on the channel after the bits{delimiter}, then zeros. `y` is to be read at those last
steps: all vectors, that many times, then one step with only the end marker (the last output). "at L x R" is measured
over sequences of L vectors to give back R times."""
BESIDE = " and, beside it, a delimiter on the last channel, because a number near 0 hardly shows"


@dataclass(frozen=True)
class CopyOptions(TaskOptions):
    """The [task] table of kind "copy"."""

    kind: str = "copy"
    bits: int = 8
    shortest: int = 1
    longest: int = 20
    longer_length: int = 0  # longer than any trained on; if not 0, the score that chooses the weights counts it as well
    longer_sequences: int = 100
    longer_weight: float = 1.0  # of their cost in that score, beside 1 for what is trained on; costs are by the bit
    test_lengths: tuple[int, ...] = (40, 80, 120)  # longer than any trained on


class Copy:
    """Give back what was shown."""

    def __init__(self, options: CopyOptions, where: str) -> None:
        if not 1 <= options.shortest <= options.longest:
            got = f"{options.shortest} and {options.longest}"
            raise TrainingError(f"{where}: expected 1 <= shortest <= longest, got {got}")
        self.options = options
        self.inputs: tuple[tuple[str, int], ...] = (("bits", options.bits), ("delimiter", 1))
        self.outputs: tuple[tuple[str, int], ...] = (("bits", options.bits),)
        self.description = f"Copies sequences of {options.bits}-bit vectors"
        self.notes = COPY_NOTES.format(**vars(options))

    def sizes(self) -> Sequence[Size]:
        return [(length,) for length in range(self.options.shortest, self.options.longest + 1)]

    def beyond(self) -> Mapping[str, Size]:
        return {f"at_{length}": (length,) for length in self.options.test_lengths}

    def longer(self) -> Longer | None:
        options, length = self.options, self.options.longer_length
        return Longer(f"at_{length}", (length,), options.longer_sequences, options.longer_weight) if length else None

    def batch(self, size: Size, count: int, generator: torch.Generator) -> Batch:
        (length,), bits = size, self.options.bits
        targets = random_bits(length, count, bits, generator)
        inputs = torch.zeros(2 * length + 1, count, bits + 1)
        inputs[:length, :, :bits] = targets
        inputs[length, :, bits] = 1
        return Batch(inputs, targets)

    def title(self, size: Size) -> str:
        return f"length {size[0]}"


@dataclass(frozen=True)
class RepeatCopyOptions(TaskOptions):
    """The [task] table of kind "repeat-copy"."""

    kind: str = "repeat-copy"
    bits: int = 8
    longest: int = 10
    most_repeats: int = 10
    delimiter: bool = False  # a delimiter beside the number; the paper's sequences have the number alone
    test_sizes: tuple[tuple[int, ...], ...] = ((20, 10), (10, 20))  # (length, repeats) beyond those trained on


class RepeatCopy:
    """Give back what was shown as often as asked, then say that this was all."""

    def __init__(self, options: RepeatCopyOptions, where: str) -> None:
        if options.longest < 1 or options.most_repeats < 2:
            got = f"{options.longest} and {options.most_repeats}"
            raise TrainingError(f"{where}: longest, most_repeats: expected at least 1 and 2, got {got}")
        if wrong := [size for size in options.test_sizes if len(size) != 2]:
            raise TrainingError(f"{where}: test_sizes: expected pairs of length and repeats, got {list(wrong[0])}")
        self.options = options
        last = (("delimiter", 1),) if options.delimiter else ()
        self.inputs: tuple[tuple[str, int], ...] = (("bits", options.bits), ("repeats", 1), *last)
        self.outputs: tuple[tuple[str, int], ...] = (("bits", options.bits), ("end marker", 1))
        self.description = f"Gives sequences of {options.bits}-bit vectors back as often as asked"
        self.notes = REPEAT_NOTES.format(**{**vars(options), "delimiter": BESIDE if options.delimiter else ""})

    def sizes(self) -> Sequence[Size]:
        lengths, repeats = range(1, self.options.longest + 1), range(1, self.options.most_repeats + 1)
        return sorted(((length, times) for length in lengths for times in repeats), key=lambda size: size[0] * size[1])

    def beyond(self) -> Mapping[str, Size]:
        return {f"at_{size[0]}_x_{size[1]}": size for size in self.options.test_sizes}

    def longer(self) -> Longer | None:
        return None

    def batch(self, size: Size, count: int, generator: torch.Generator) -> Batch:
        (length, repeats), bits = size, self.options.bits
        shown = random_bits(length, count, bits, generator)
        targets = torch.zeros(length * repeats + 1, count, bits + 1)
        targets[:-1, :, :bits] = shown.repeat(repeats, 1, 1)
        targets[-1, :, bits] = 1
        inputs = torch.zeros(length + 1 + len(targets), count, sum(width for _, width in self.inputs))
        inputs[:length, :, :bits] = shown
        inputs[length, :, bits:] = 1  # the delimiter, if there is one
        inputs[length, :, bits] = self.normalised(repeats)
        return Batch(inputs, targets)

    def normalised(self, repeats: int) -> float:
        """How a number is shown: with mean 0 and variance 1 over 1, 2, ... most_repeats."""
        most = self.options.most_repeats
        return float((repeats - (most + 1) / 2) / ((most**2 - 1) / 12) ** 0.5)

    def title(self, size: Size) -> str:
        return f"length {size[0]}, {size[1]} times"


def random_bits(steps: int, count: int, bits: int, generator: torch.Generator) -> Tensor:
    """Fair coins, [steps, count, bits]."""
    return torch.randint(0, 2, (steps, count, bits), generator=generator).float()

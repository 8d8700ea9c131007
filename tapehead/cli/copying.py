"""The copy task: what to show to the model, and what came back."""

from __future__ import annotations

import numpy as np

from tapehead import render
from tapehead.tensors import Array

BITS = 8


def copy_sequence(length: int, seed: int) -> Array:
    """A sequence as the shipped model was trained on: float32 [2 length + 1, 9].

    `length` rows of random bits in channels 0 to 7, one row with the delimiter alone in channel 8, and `length` rows of
    zeros, during which the model has to give the bits back in order.
    """
    rows = np.zeros((2 * length + 1, BITS + 1), np.float32)
    rows[:length, :BITS] = np.random.default_rng(seed).integers(0, 2, (length, BITS))
    rows[length, BITS] = 1
    return rows


def compare(sequence: Array, outputs: Array) -> tuple[str, int]:
    """A drawing of what was to be remembered beside what came back, and the number of wrong bits.

    `outputs` is [2 length + 1, 8], either probabilities or logits.
    """
    length = len(sequence) // 2
    if outputs.shape != (len(sequence), BITS):
        raise ValueError(f"expected {BITS} outputs a step for the copy task, got shape {list(outputs.shape[1:])}")
    threshold = 0.5 if np.all((outputs >= 0) & (outputs <= 1)) else 0.0
    wanted, given = sequence[:length, :BITS] > 0.5, outputs[-length:] > threshold
    lines = [f"{'step':>5}  {'in':{BITS}}  out"]
    for number, (shown, returned) in enumerate(zip(wanted, given, strict=True), start=1):
        lines.append(f"{number:5}  {render.bits(shown)}  {render.bits(returned)}")
    return "\n".join(lines), int(np.count_nonzero(wanted != given))

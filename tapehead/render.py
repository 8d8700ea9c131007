"""Draws what models give into a terminal, as plain text without colour codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tapehead.tensors import Array

SHADES = " ░▒▓█"
BAR = "█"
PARTS = " ▏▎▍▌▋▊▉"  # eighths of a character


def tape(memory: Array, *, low: float | None = None, high: float | None = None) -> str:
    """A memory matrix as shaded blocks: one line a slot, one character a column, darkest where the value is highest.

    `memory` is [slots, width], or one vector. `low` and `high` are the values drawn as blank and as full; the smallest
    and largest of `memory` unless given, so give both to compare one drawing with another.
    """
    values = np.atleast_2d(np.asarray(memory, np.float64))
    if values.ndim != 2:
        raise ValueError(f"memory: expected [slots, width], got an array of shape {list(values.shape)}")
    least = float(values.min()) if low is None else low
    most = float(values.max()) if high is None else high
    parts = np.clip((values - least) / ((most - least) or 1.0), 0.0, 1.0)
    shades = np.minimum((np.nan_to_num(parts) * len(SHADES)).astype(int), len(SHADES) - 1)
    return "\n".join("".join(SHADES[shade] for shade in row) for row in shades)


def bits(values: Array, *, threshold: float = 0.5) -> str:
    """A vector of bits, or a matrix with one line a row: a block above the threshold, a dot elsewhere."""
    rows = np.atleast_2d(np.asarray(values)) > threshold
    return "\n".join("".join("█" if bit else "·" for bit in row) for row in rows)


def bar(share: float, width: int = 10) -> str:
    """A share between 0 and 1 as a bar, padded to `width` characters."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    drawn = BAR * (eighths // 8) + (PARTS[eighths % 8] if eighths % 8 else "")
    return drawn.ljust(width)


def attention(sentences: Sequence[str], hops: Sequence[Sequence[float]], *, width: int = 10) -> str:
    """A story beside where each hop looked: one line a sentence, one bar a hop.

    A hop has one weight for each sentence that the model remembers; where it has fewer than there are sentences, the
    oldest sentences are forgotten and have no bars.
    """
    text_width = max((len(sentence) for sentence in sentences), default=0)
    width = max(width, len(f"hop {len(hops)}"))
    heads = "  ".join(f"hop {number + 1}".ljust(width) for number in range(len(hops)))
    lines = [f"{'':{text_width}}  {heads}".rstrip()]
    for index, sentence in enumerate(sentences):
        weights = (hop[index - len(sentences)] if len(sentences) - index <= len(hop) else None for hop in hops)
        drawn = "  ".join((" " * width) if weight is None else bar(weight, width) for weight in weights)
        lines.append(f"{sentence:{text_width}}  {drawn}".rstrip())
    return "\n".join(lines)

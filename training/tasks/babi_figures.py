"""What a network made of a question, for people: as text and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from ..experiment import Array
from ..figures import png


@dataclass(frozen=True)
class Answered:
    """A question with its story, what the network answered and where each hop looked."""

    sentences: Sequence[str]
    question: str
    expected: str
    answered: str
    supporting: Sequence[int]  # sentences that decide it
    looks: Array  # [hops, sentences], each hop's weights summing to at most 1


def as_text(case: Answered) -> str:
    """One line a sentence: the mark of a supporting one, every hop's weight in percent, the sentence."""
    rows = []
    for number, sentence in enumerate(case.sentences):
        mark = "*" if number in case.supporting else " "
        rows.append(f"{mark} {' '.join(f'{100 * weight:3.0f}' for weight in case.looks[:, number])}  {sentence}")
    verdict = "" if case.answered == case.expected else f", expected {case.expected}"
    return "\n".join([*rows, f"  {case.question}? {case.answered}{verdict}"])


def draw(cases: Sequence[Answered]) -> bytes:
    """Every hop's weights over the sentences of some stories, one story beside the other; supporting ones are bold."""
    heights = [len(case.sentences) for case in cases]
    figure, all_axes = plt.subplots(
        len(cases), 1, figsize=(6.4, 0.2 * sum(heights) + 0.8 * len(cases)), height_ratios=heights, squeeze=False
    )
    for axes, case in zip(all_axes[:, 0], cases, strict=True):
        axes.imshow(case.looks.T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(case.looks)), [f"hop {hop + 1}" for hop in range(len(case.looks))], fontsize=7)
        axes.set_yticks(range(len(case.sentences)), case.sentences, fontsize=7)
        for number in case.supporting:
            axes.get_yticklabels()[number].set_fontweight("bold")
        axes.set_title(f"{case.question}? {case.answered}", fontsize=8, loc="left")
    return png(figure)


def draw_slots(cases: Sequence[tuple[str, Array]], names: Sequence[str]) -> bytes:
    """Every hop's weights [hops, slots] over the slots of a memory that keeps no sentence apart, by question."""
    height = sum(len(looks) for _, looks in cases)
    figure, all_axes = plt.subplots(
        len(cases), 1, figsize=(6.4, 0.2 * height + 0.8 * len(cases)), sharex=True, squeeze=False
    )
    for axes, (title, looks) in zip(all_axes[:, 0], cases, strict=True):
        axes.imshow(looks, cmap="Blues", vmin=0, aspect="auto")
        axes.set_yticks(range(len(looks)), [f"hop {hop + 1}" for hop in range(len(looks))], fontsize=7)
        axes.set_title(title, fontsize=8, loc="left")
    all_axes[-1, 0].set_xticks(range(len(names)), names, fontsize=7, rotation=90)
    return png(figure)

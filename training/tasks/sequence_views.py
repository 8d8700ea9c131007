"""How a person looks at a sequence: bits as characters, the heads' weightings over time and the tape as pictures."""

from __future__ import annotations

import torch
from matplotlib import pyplot as plt
from torch import Tensor

from ..figures import png
from ..networks.ntm import NTM


def to_human_readable(targets: Tensor, logits: Tensor) -> str:
    """Target and answer [length, bits] as rows of characters, one a bit; `x` marks the wrong bits."""
    answers, bits = logits > 0, targets > 0.5
    wrong = answers != bits
    lines = []
    for title, rows, one, zero in (
        ("target", bits, "#", "."),
        ("answer", answers, "#", "."),
        ("wrong", wrong, "x", " "),
    ):
        for number, row in enumerate(rows.T.tolist()):
            lines.append(f"{title if number == 0 else '':8}|" + "".join(one if bit else zero for bit in row) + "|")
    return "\n".join([*lines, f"{int(wrong.sum())} of {bits.numel()} bits wrong"])


def trace(network: NTM, inputs: Tensor) -> dict[str, Tensor]:
    """Steps one sequence [T, inputs] and keeps, for every step, what can be looked at."""
    state = network.initial_state(1)
    seen: dict[str, list[Tensor]] = {"output": [], "read": [], "write": [], "tape": []}
    for x in inputs:
        logits, state = network.step(x[None], state)
        read, write = state.weights[0]
        for name, value in (("output", logits[0]), ("read", read), ("write", write), ("tape", state.memory[0])):
            seen[name].append(value)
    return {name: torch.stack(values) for name, values in seen.items()}


def heads_png(inputs: Tensor, seen: dict[str, Tensor]) -> bytes:
    """Draws a sequence's input and output and both heads' weightings over time."""
    used = int((seen["write"].amax(0) + seen["read"].amax(0) > 0.05).nonzero().max()) + 2
    rows = [
        ("input", inputs.T),
        ("output", torch.sigmoid(seen["output"]).T),
        ("write head", seen["write"].T[:used]),
        ("read head", seen["read"].T[:used]),
    ]
    figure, axes = plt.subplots(len(rows), 1, figsize=(6.4, 6.4), sharex=True, height_ratios=[1, 1, 2.5, 2.5])
    for axis, (title, image) in zip(axes, rows, strict=True):
        axis.imshow(image.numpy(), aspect="auto", cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        axis.set_ylabel(title)
    axes[2].set_ylabel("write head: location")
    axes[3].set_ylabel("read head: location")
    axes[-1].set_xlabel("step")
    return png(figure)


def tape_png(seen: dict[str, Tensor], step: int) -> bytes:
    """Draws the tape after a step: a column a location, a row an element."""
    figure, axis = plt.subplots(figsize=(6.4, 1.9))
    image = axis.imshow(
        seen["tape"][step].numpy(), aspect="auto", cmap="RdBu", vmin=-1, vmax=1, interpolation="nearest"
    )
    axis.set(xlabel="location", ylabel="element", title=f"the tape after step {step + 1}")
    figure.colorbar(image)
    return png(figure)

"""How a person looks at a sequence: bits as characters, and what goes on inside over time as pictures."""

from __future__ import annotations

import torch
from matplotlib import pyplot as plt
from torch import Tensor

from ..figures import png
from ..networks.ntm import NTM
from ..networks.stepped import SteppedNetwork
from .sequence_task import Batch, Task

MACHINE_CAPTION = (
    "`heads.png`: input, output and both heads' weightings over one sequence. "
    "`tape.png`: the tape once all is taken in."
)


def sequence_to_text(task: Task, batch: Batch, logits: Tensor) -> str:
    """The first sequence of a batch: what is shown, then target and answer; numbers between -1 and 1 as digits 0-9."""
    lines, first, margin = [], 0, max(8, *(len(name) + 1 for name, _ in task.inputs))
    for name, width in task.inputs:
        for number, row in enumerate(batch.inputs[:, 0, first : first + width].T.tolist()):
            lines.append(f"{'' if number else name:{margin}}|" + "".join(_character(value) for value in row) + "|")
        first += width
    text = "\n".join(lines) + "\n" + to_human_readable(batch.targets[:, 0], logits[:, 0], margin)
    if batch.optimum is not None:
        text += f"; the best possible predictions cost {batch.optimum[0].item():.1f} bits"
    return text


def _character(value: float) -> str:
    if value in (0, 1):
        return "#" if value else "."
    return str(min(9, max(0, int(5 * (value + 1)))))


def to_human_readable(targets: Tensor, logits: Tensor, margin: int = 8) -> str:
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
            lines.append(f"{'' if number else title:{margin}}|" + "".join(one if bit else zero for bit in row) + "|")
    return "\n".join([*lines, f"{int(wrong.sum())} of {bits.numel()} bits wrong"])


def draw(network: SteppedNetwork, batch: Batch) -> tuple[dict[str, bytes], str]:
    """Pictures of what a network does with the first sequence of a batch, and a sentence on each for the card."""
    inputs = batch.inputs[:, 0]
    seen = trace(network, inputs)
    if isinstance(network, NTM):
        taken_in = len(inputs) - len(batch.targets) - 1
        return {"heads.png": heads_png(inputs, seen), "tape.png": tape_png(seen, taken_in)}, MACHINE_CAPTION
    caption = "`gates.png`: input, output and what the units of the last layer do over one sequence: " + ", ".join(
        f"`{one.name}`" for one in network.seen
    )
    return {"gates.png": gates_png(inputs, seen)}, caption + "."


def trace(network: SteppedNetwork, inputs: Tensor) -> dict[str, Tensor]:
    """Steps one sequence [T, inputs] and keeps the logits, as `output`, and all that can be looked at, [T, ...]."""
    state = network.initial_state(1)
    names = ["output", *(one.name for one in network.seen)]
    kept: dict[str, list[Tensor]] = {name: [] for name in names}
    for x in inputs:
        logits, state, values = network.observe(x[None], state)
        for name, value in zip(names, (logits, *values), strict=True):
            kept[name].append(value[0])
    return {name: torch.stack(values) for name, values in kept.items()}


def heads_png(inputs: Tensor, seen: dict[str, Tensor]) -> bytes:
    """Draws a sequence's input and output and both heads' weightings over time."""
    read, write = seen["read_weights"][:, 0], seen["write_weights"][:, 0]
    used = int((write.amax(0) + read.amax(0) > 0.05).nonzero().max()) + 2
    rows = [
        ("input", inputs.T),
        ("output", torch.sigmoid(seen["output"]).T),
        ("write head", write.T[:used]),
        ("read head", read.T[:used]),
    ]
    figure, axes = plt.subplots(len(rows), 1, figsize=(6.4, 6.4), sharex=True, height_ratios=[1, 1, 2.5, 2.5])
    for axis, (title, image) in zip(axes, rows, strict=True):
        axis.imshow(image.numpy(), aspect="auto", cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        axis.set_ylabel(title)
    axes[2].set_ylabel("write head: location")
    axes[3].set_ylabel("read head: location")
    axes[-1].set_xlabel("step")
    return png(figure)


def gates_png(inputs: Tensor, seen: dict[str, Tensor]) -> bytes:
    """Draws a sequence's input and output and, over time, what every unit of the last layer shows."""
    inside = {name: values[:, -1] for name, values in seen.items() if name != "output"}
    rows = [("input", inputs.T), ("output", torch.sigmoid(seen["output"]).T)]
    rows += [(name.replace("_", " "), values.T) for name, values in inside.items()]
    figure, axes = plt.subplots(
        len(rows), 1, figsize=(6.4, 2 + 1.6 * len(inside)), sharex=True, height_ratios=[1, 1] + [2.5] * len(inside)
    )
    for axis, (title, image) in zip(axes, rows, strict=True):
        lowest = -1 if image.min() < 0 else 0
        axis.imshow(image.numpy(), aspect="auto", cmap="gray_r", vmin=lowest, vmax=1, interpolation="nearest")
        axis.set_ylabel(title, fontsize="small")
    axes[-1].set_xlabel("step")
    return png(figure)


def tape_png(seen: dict[str, Tensor], step: int) -> bytes:
    """Draws the tape after a step: a column a location, a row an element."""
    figure, axis = plt.subplots(figsize=(6.4, 1.9))
    image = axis.imshow(
        seen["tape"][step].T.numpy(), aspect="auto", cmap="RdBu", vmin=-1, vmax=1, interpolation="nearest"
    )
    axis.set(xlabel="location", ylabel="element", title=f"the tape after step {step + 1}")
    figure.colorbar(image)
    return png(figure)

"""How a person looks at a sequence: bits as characters, and what goes on inside over time as pictures."""

from __future__ import annotations

import torch
from matplotlib import pyplot as plt
from torch import Tensor

from ..figures import png
from ..networks.stepped import SteppedNetwork
from .sequence_damage import damage_png, has_recall
from .sequence_task import Batch, Task

MACHINE_CAPTION = (
    "`heads.png`: input, output and the heads' weightings over one sequence. "
    "`tape.png`: the tape once all is taken in, and after the answer."
)
DAMAGE_CAPTION = (
    "`damage.png`: wrong bits when a part of the tape is overwritten, or noise added to it, between input and answer "
    "({})."
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


def draw(network: SteppedNetwork, batch: Batch, many: Batch | None = None) -> tuple[dict[str, bytes], str]:
    """Pictures of what a network does with the first sequence of a batch, and a sentence on each for the card.

    With `many` sequences, also how many bits are wrong when a part of the tape is damaged before the answer.
    """
    inputs = batch.inputs[:, 0]
    seen = trace(network, inputs)
    if "tape" not in seen:
        caption = "`gates.png`: input, output and what the units of the last layer do over one sequence: "
        return {"gates.png": gates_png(inputs.cpu(), seen)}, caption + ", ".join(
            f"`{n.name}`" for n in network.seen
        ) + "."
    pictures = {
        "heads.png": heads_png(inputs.cpu(), seen),
        "tape.png": tape_png(seen, len(inputs) - len(batch.targets) - 1),
    }
    if many is None or not has_recall(network, many):
        return pictures, MACHINE_CAPTION
    title = f"{many.inputs.shape[1]} sequences of {len(many.inputs)} steps"
    return {**pictures, "damage.png": damage_png(network, many)}, f"{MACHINE_CAPTION} {DAMAGE_CAPTION.format(title)}"


def trace(network: SteppedNetwork, inputs: Tensor) -> dict[str, Tensor]:
    """Steps one sequence [T, inputs] and keeps the logits, as `output`, and all that can be looked at, [T, ...]."""
    state = network.initial_state(1)
    names = ["output", *(one.name for one in network.seen)]
    kept: dict[str, list[Tensor]] = {name: [] for name in names}
    for x in inputs:
        logits, state, values = network.observe(x[None], state)
        for name, value in zip(names, (logits, *values), strict=True):
            kept[name].append(value[0].cpu())
    return {name: torch.stack(values) for name, values in kept.items()}


def heads_png(inputs: Tensor, seen: dict[str, Tensor]) -> bytes:
    """Draws a sequence's input and output and the weightings of the heads over time; of several heads the largest."""
    heads = {name: values.amax(1) for name, values in seen.items() if name.endswith("weights")}
    used = max(_last(values.amax(0) > 0.05) for values in heads.values()) + 2
    rows = [("input", inputs.T), ("output", torch.sigmoid(seen["output"]).T)]
    titles = {"write_weights": "write head", "read_weights": "read head", "weights": "head"}
    order = sorted(heads, key=list(titles).index)
    rows += [(f"{titles[name]}: location", heads[name].T[:used]) for name in order]
    ratios = [1, 1] + [2.5] * len(heads)
    figure, axes = plt.subplots(len(rows), 1, figsize=(6.4, 2 + 2.2 * len(heads)), sharex=True, height_ratios=ratios)
    for axis, (title, image) in zip(axes, rows, strict=True):
        axis.imshow(image.numpy(), aspect="auto", cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        axis.set_ylabel(title, fontsize="small")
    axes[-1].set_xlabel("step")
    return png(figure)


def _last(flags: Tensor) -> int:
    """The last position that is true; 0 where none is."""
    return max(flags.nonzero().flatten().tolist(), default=0)


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
    """Draws the tape after a step and after the last one: a column a location, a row an element."""
    steps = sorted({step, len(seen["tape"]) - 1})
    figure, all_axes = plt.subplots(len(steps), 1, figsize=(6.4, 1.7 * len(steps) + 0.2), sharex=True, squeeze=False)
    for axis, shown in zip(all_axes[:, 0], steps, strict=True):
        tape = seen["tape"][shown].T.numpy()
        image = axis.imshow(tape, aspect="auto", cmap="RdBu", vmin=-1, vmax=1, interpolation="nearest")
        axis.set_ylabel("element")
        axis.set_title(f"the tape after step {shown + 1}", fontsize="medium")
        figure.colorbar(image, ax=axis)
    all_axes[-1, 0].set_xlabel("location")
    return png(figure)

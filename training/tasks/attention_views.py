"""How a person looks at a written text: the source, the words, and where each of them looked."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import pyplot as plt
from torch import Tensor

from ..figures import png
from ..networks.attention import END, AttentionNetwork, real_steps
from .attention_task import Pairs, Task, until_end

LEAST = 0.05  # weight that is worth a mention


def written(task: Task, network: AttentionNetwork, pairs: Pairs, number: int) -> tuple[list[str], Tensor]:
    """The words written for one source, with the end if it came, and their weights [T, positions]."""
    one = pairs.row(number)
    words, weights = network.write(one.source, one.lengths, task.limit)
    steps = int(real_steps(words).sum())
    return [task.words[word] for word in words[0, :steps]], weights[0, :steps, : int(one.lengths[0])]


def as_text(task: Task, network: AttentionNetwork, pairs: Pairs, number: int) -> str:
    """Source, expected and written text, then a line a word: what it looked at, as (position, weight) pairs."""
    words, weights = written(task, network, pairs, number)
    expected = " ".join(task.words[word] for word in until_end(pairs.targets[number]))
    text = " ".join(word for word in words if word != task.words[END])
    labels, margin = task.labels(pairs, number), max(map(len, words))
    lines = [task.source_as_text(pairs, number), f"expected  {expected}", f"written   {text}"]
    for word, row in zip(words, weights.tolist(), strict=True):
        looks = [f"({label}, {weight:.2f})" for label, weight in zip(labels, row, strict=True) if weight >= LEAST]
        lines.append(f"  {word:{margin}}  {' '.join(looks)}")
    return "\n".join([*lines, "right" if text == expected else "WRONG"])


def attention_png(task: Task, network: AttentionNetwork, shown: Sequence[Pairs]) -> bytes:
    """Draws the weights of each source's words, a row a word, a column a position; its images above, if it has any."""
    cases = [(pairs, *written(task, network, pairs, 0)) for pairs in shown]
    heights = [1.2 + 0.22 * len(words) for _, words, _ in cases]
    figure, all_axes = plt.subplots(len(cases), 1, figsize=(5.6, sum(heights)), height_ratios=heights, squeeze=False)
    for axes, (pairs, words, weights) in zip(all_axes[:, 0], cases, strict=True):
        axes.imshow(weights.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_yticks(range(len(words)), words, fontsize=7)
        labels, images = task.labels(pairs, 0), task.pictures(pairs, 0)
        axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.set_xticks(range(len(labels)), labels, fontsize=7, rotation=0 if images is not None else 45)
        for column, image in enumerate(() if images is None else images):
            row = 1 / len(words)
            place = axes.inset_axes((column / len(labels), 1 + 1.4 * row, 1 / len(labels), 2.4 * row))
            place.imshow(image, cmap="gray", vmin=0, vmax=1)
            place.axis("off")
    return png(figure)

"""An encoder-decoder with attention as the graphs of a bundle: `start` reads the source, each `step` writes a word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tapehead.v1.manifest_pb2 import MODEL_KIND_SEQUENCE, Entry, EntryTensor, Manifest, StateTensor
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, DATA_TYPE_INT64

from ..experiment import Array, Call, Graphs
from ..networks.attention import AttentionNetwork, Writing
from .attention_task import Pairs, Task, until_end

RANDOM_SEED = 3_000_017
RANDOM_RUNS, RANDOM_STEPS = 8, 12
BEYOND_END = 2  # steps of a probe after the end was written

MEANINGS = {
    "memory": "what was read at each position; 0 where the source is padded",
    "length": "how many positions the source has",
    "hidden": "the units of the decoder",
    "last_word": "the word written last; before the first, a number that no word has",
}


class Step(nn.Module):
    """Writes a word: the state -> word [B], probabilities [B, V], attention [B, L] and the next state."""

    def __init__(self, network: AttentionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, memory: Tensor, length: Tensor, hidden: Tensor, last_word: Tensor) -> tuple[Tensor, ...]:
        word, probabilities, weights, after = self.network.step(Writing(memory, length, hidden, last_word))
        return word, probabilities, weights, *after


def attention_graphs(
    network: AttentionNetwork, task: Task, real: Sequence[Pairs], *, notes: str, figures: dict[str, bytes]
) -> Graphs:
    """The graphs of a network on a task; the first of each of `real` is recorded as a probe, to its end and beyond."""
    random = np.random.default_rng(RANDOM_SEED)
    probes = [_run(task.given(pairs, 0), len(until_end(pairs.targets[0])) + 1 + BEYOND_END) for pairs in real]
    initial = _empty(network, task)
    return Graphs(
        manifest=_manifest(network, task, initial),
        modules={"start": task.start(network), "step": Step(network)},
        initial=initial,
        probes=probes,
        checks=[_run(task.anything(random), RANDOM_STEPS) for _ in range(RANDOM_RUNS)],
        notes=notes,
        figures=figures,
    )


def _run(given: dict[str, Array], steps: int) -> list[Call]:
    return [("start", given), *(("step", {}) for _ in range(steps))]


def _empty(network: AttentionNetwork, task: Task) -> dict[str, Array]:
    """The state before `start`: nothing was read, and so nothing is written."""
    random = np.random.default_rng(RANDOM_SEED)
    given = [torch.from_numpy(array[None]) for array in task.anything(random).values()]
    shapes = Writing(*task.start(network)(*given))
    return {name: np.zeros_like(value[0].numpy()) for name, value in shapes._asdict().items()}


def _manifest(network: AttentionNetwork, task: Task, initial: dict[str, Array]) -> Manifest:
    start = Entry(name="start", file="start.onnx", inputs=task.start_inputs(), writes_state=True)
    step = Entry(name="step", file="step.onnx", reads_state=True, writes_state=True)
    step.outputs.extend(
        [
            EntryTensor(
                name="word",
                dtype=DATA_TYPE_INT64,
                description=f"the next word; after {task.words[0]!r} always {task.words[0]!r}",
                words=task.words,
            ),
            EntryTensor(
                name="probabilities",
                dtype=DATA_TYPE_FLOAT32,
                shape=[len(task.words)],
                description="of each word to be the next",
            ),
            EntryTensor(
                name="attention",
                dtype=DATA_TYPE_FLOAT32,
                shape=[len(initial["memory"])],
                inspection=True,
                description=f"how much the word looked at each {task.position}; 0 beyond the last",
            ),
        ]
    )
    state = [
        StateTensor(
            name=name,
            dtype=DATA_TYPE_INT64 if value.dtype == np.int64 else DATA_TYPE_FLOAT32,
            shape=value.shape,
            description=MEANINGS[name],
        )
        for name, value in initial.items()
    ]
    description = f"{task.description}, with attention over the {task.position}s."
    return Manifest(kind=MODEL_KIND_SEQUENCE, description=description, entries=[start, step], state=state)

"""The family of captions: name the events of a short clip in their order, one word an event.

A frame that is looked at twice shows as a repeated word, one that is skipped as a missing word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tapehead.v1.manifest_pb2 import EntryTensor
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, DATA_TYPE_INT64

from ..config import Config, read_table
from ..errors import TrainingError
from ..experiment import Array
from ..networks.attention import AttentionNetwork
from .attention_experiment import TEST_SEED, VALIDATION_SEED, AttentionExperiment
from .attention_task import Pairs, numpy_generator, padded_words
from .clips import EVENTS, SIDE, draw_clip, render

FRAMES_A_LINE = 6

NOTES = """
A clip has one event a frame: a shape appears (disc, square, cross, triangle), or the shape that is there moves (left,
right, up, down) or changes its size (grows, shrinks). Frames are images of 16 x 16 grey pixels with noise. The caption
names the events in their order, one word a frame. Trained on clips of {shortest} to {longest} frames; "at N" is
measured on clips of N frames, longer than any trained on.
"""


@dataclass(frozen=True)
class CaptionOptions:
    """The [task] table."""

    shortest: int = 4  # frames
    longest: int = 8  # also what the served model has room for
    test_lengths: tuple[int, ...] = (10, 12)
    validation_clips: int = 500
    test_clips: int = 1000


class FrameEncoder(nn.Module):
    """Two convolutions over each frame beside the one before it: [B, L, SIDE, SIDE] -> [B, L, size].

    Before the first frame all is black.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 12, kernel_size=3, stride=2, padding=1)
        self.second = nn.Conv2d(12, 24, kernel_size=3, stride=2, padding=1)
        self.features = nn.Linear(24 * (SIDE // 4) ** 2, size)

    def forward(self, frames: Tensor) -> Tensor:
        """The features of every frame, padded ones too."""
        before = torch.cat([torch.zeros_like(frames[:, :1]), frames[:, :-1]], dim=1)
        images = torch.stack([frames, before], dim=2).flatten(0, 1)
        seen = torch.relu(self.second(torch.relu(self.first(images))))
        return torch.relu(self.features(seen.flatten(1))).reshape(-1, frames.shape[1], self.features.out_features)


class Start(nn.Module):
    """Takes a clip in: frames [B, L, SIDE, SIDE], of which `length` [B] are real -> the state."""

    def __init__(self, network: AttentionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor, length: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.start(frames, length))


class Captions:
    """Clips with their captions; a `Task`."""

    words = ("<end>", *EVENTS)
    description = "Names the events of a clip of up to {longest} frames, one word a step"
    position = "frame"

    def __init__(self, options: CaptionOptions, where: str) -> None:
        if not 1 <= options.shortest <= options.longest:
            got = f"{options.shortest}, {options.longest}"
            raise TrainingError(f"{where}: shortest, longest: expected 1 <= shortest <= longest, got {got}")
        if any(length < 1 for length in options.test_lengths):
            raise TrainingError(f"{where}: test_lengths: expected 1 or more each, got {list(options.test_lengths)}")
        self.options = options
        self.limit = 2 * max(options.longest, *options.test_lengths, 1)
        self.description = Captions.description.format(longest=options.longest)
        self.notes = NOTES.format(shortest=options.shortest, longest=options.longest)

    def front(self, size: int) -> nn.Module:
        return FrameEncoder(size)

    def draw(self, count: int, generator: torch.Generator, grown: float = 1.0) -> Pairs:
        """While it grows, from clips of a single frame on: those teach to see before there is a place to find."""
        shortest, longest = self.options.shortest, self.options.longest
        if grown < 1:
            shortest, longest = 1, math.ceil(grown * longest)
        lengths = torch.randint(shortest, longest + 1, (count,), generator=generator)
        return self._clips(lengths.tolist(), numpy_generator(generator))

    def validation(self) -> Pairs:
        return self.draw(self.options.validation_clips, torch.Generator().manual_seed(VALIDATION_SEED))

    def tests(self) -> Mapping[str, Pairs]:
        options = self.options
        tests = {"": self.draw(options.test_clips, torch.Generator().manual_seed(TEST_SEED))}
        for length in options.test_lengths:
            random = np.random.default_rng(TEST_SEED + length)
            tests[f"_at_{length}"] = self._clips([length] * options.test_clips, random)
        return tests

    def _clips(self, lengths: Sequence[int], random: np.random.Generator) -> Pairs:
        frames = np.zeros((len(lengths), max(lengths), SIDE, SIDE), np.float32)
        clips = [draw_clip(length, random) for length in lengths]
        real = np.arange(max(lengths)) < np.array(lengths)[:, None]
        frames[real] = render([scene for _, scenes in clips for scene in scenes], random)
        captions = padded_words([[event + 1 for event in events] for events, _ in clips])
        return Pairs(torch.from_numpy(frames), torch.tensor(lengths), captions)

    def labels(self, pairs: Pairs, number: int) -> list[str]:
        return [f"frame {frame + 1}" for frame in range(int(pairs.lengths[number]))]

    def pictures(self, pairs: Pairs, number: int) -> Array | None:
        return pairs.source[number, : int(pairs.lengths[number])].numpy()

    def source_as_text(self, pairs: Pairs, number: int) -> str:
        """The frames side by side, two rows of pixels in one of characters."""
        images = pairs.source[number, : int(pairs.lengths[number])].numpy()
        flat = images.reshape(len(images), SIDE // 2, 2, SIDE).max(2)
        parts = [flat[first : first + FRAMES_A_LINE] for first in range(0, len(flat), FRAMES_A_LINE)]
        lines = [
            " ".join("".join(" .+#"[int(3.99 * value)] for value in image[row]) for image in part)
            for part in parts
            for row in range(SIDE // 2)
        ]
        return "\n".join(f"|{line}|" for line in lines)

    def start(self, network: AttentionNetwork) -> nn.Module:
        return Start(network)

    def start_inputs(self) -> Sequence[EntryTensor]:
        frames = "the clip: frames, rows, columns; 0 is black, 1 white; what is beyond `length` is not looked at"
        return [
            EntryTensor(
                name="frames", dtype=DATA_TYPE_FLOAT32, shape=[self.options.longest, SIDE, SIDE], description=frames
            ),
            EntryTensor(name="length", dtype=DATA_TYPE_INT64, description="how many frames the clip has"),
        ]

    def given(self, pairs: Pairs, number: int) -> dict[str, Array]:
        frames = np.zeros((self.options.longest, SIDE, SIDE), np.float32)
        frames[: pairs.source.shape[1]] = pairs.source[number].numpy()
        return {"frames": frames, "length": pairs.lengths[number].numpy()}

    def anything(self, random: np.random.Generator) -> dict[str, Array]:
        frames = random.uniform(0, 1, (self.options.longest, SIDE, SIDE)).astype(np.float32)
        return {"frames": frames, "length": np.array(random.integers(1, self.options.longest + 1))}


def build(config: Config) -> AttentionExperiment:
    """Builds the experiment of a configuration of this family."""
    where = f"{config.where}: [task]"
    return AttentionExperiment(config, Captions(read_table(CaptionOptions, config.task, where), where))

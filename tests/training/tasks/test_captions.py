"""Clips with their captions: that a frame shows what its word says, and what each word is measured by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training.errors import TrainingError
from training.tasks.captions import CaptionOptions, Captions
from training.tasks.clips import CHANGES, EVENTS, LARGEST, SHAPES, SIDE, SMALLEST, draw_clip, render

SEED = 5


def clips(count: int = 300, length: int = 8) -> list[tuple[list[int], list[tuple[int, int, int, int]]]]:
    random = np.random.default_rng(SEED)
    return [draw_clip(length, random) for _ in range(count)]


def test_each_event_is_what_changed_since_the_frame_before() -> None:
    seen = set()
    for events, scenes in clips():
        assert events[0] < len(SHAPES)
        for event, before, after in zip(events[1:], scenes, scenes[1:], strict=False):
            seen.add(EVENTS[event])
            if EVENTS[event] in SHAPES:
                assert after[0] == event != before[0]
            else:
                change = tuple(new - old for new, old in zip(after[1:], before[1:], strict=True))
                assert (after[0], change) == (before[0], CHANGES[EVENTS[event]])
    assert seen == set(EVENTS)


def test_no_shape_ever_leaves_the_picture() -> None:
    for _, scenes in clips():
        for _, column, row, radius in scenes:
            assert SMALLEST <= radius <= LARGEST
            assert radius <= column < SIDE - radius
            assert radius <= row < SIDE - radius


def test_frames_are_images_of_the_scenes() -> None:
    """Bright where the shape is: a square is full, a disc has no corners, a cross has only its axes."""
    random = np.random.default_rng(SEED)
    scenes = [(SHAPES.index(name), 6, 9, 4) for name in SHAPES]
    disc, square, cross, triangle = render(scenes, random)

    assert disc.dtype == np.float32
    assert 0 <= min(disc.min(), square.min()) <= max(disc.max(), square.max()) <= 1
    bright = [image > 0.4 for image in (disc, square, cross, triangle)]
    assert [int(image.sum()) for image in bright] == [49, 81, 17, 41]
    assert bright[1][5:14, 2:11].all()
    assert all(image[9, 6] for image in bright)
    assert not bright[0][5, 2]
    assert bright[3][13].sum() > bright[3][6].sum()


def test_captions_name_the_events_and_end() -> None:
    task = Captions(CaptionOptions(), "config")
    pairs = task.draw(20, torch.Generator().manual_seed(SEED))

    assert set(pairs.lengths.tolist()) <= set(range(4, 9))
    for number, length in enumerate(pairs.lengths.tolist()):
        words = pairs.targets[number].tolist()
        assert all(words[:length])
        assert not any(words[length:])
        assert task.words[words[0]] in SHAPES
        assert not pairs.source[number, length:].any()


def test_the_same_generator_draws_the_same_clips_and_the_test_is_fixed() -> None:
    task = Captions(CaptionOptions(test_clips=3), "config")
    one, other = (task.draw(4, torch.Generator().manual_seed(SEED)) for _ in range(2))

    assert torch.equal(one.source, other.source)
    assert torch.equal(one.targets, other.targets)
    assert torch.equal(task.tests()["_at_10"].source, task.tests()["_at_10"].source)
    assert task.tests()["_at_12"].lengths.tolist() == [12, 12, 12]


def test_a_served_clip_is_padded_to_the_longest() -> None:
    task = Captions(CaptionOptions(), "config")
    pairs = task.draw(3, torch.Generator().manual_seed(SEED))
    given = task.given(pairs, 1)

    assert {name: array.shape for name, array in given.items()} == {"frames": (8, SIDE, SIDE), "length": ()}
    assert int(given["length"]) == int(pairs.lengths[1])
    assert not given["frames"][int(given["length"]) :].any()


@pytest.mark.parametrize("wrong", [{"shortest": 0}, {"shortest": 9}, {"test_lengths": (0,)}])
def test_lengths_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match=r"config: (shortest, longest|test_lengths): expected 1"):
        Captions(CaptionOptions(**wrong), "config")


def test_a_person_sees_the_frames(tmp_path: Path) -> None:
    task = Captions(CaptionOptions(), "config")
    text = task.source_as_text(task.draw(1, torch.Generator().manual_seed(SEED)), 0)

    assert len(text.splitlines()) in (SIDE // 2, SIDE)
    assert "#" in text


def test_clips_grow_while_training_begins() -> None:
    task = Captions(CaptionOptions(), "config")
    generator = torch.Generator().manual_seed(SEED)

    assert set(task.draw(50, generator, 0.1).lengths.tolist()) == {1}
    assert set(task.draw(200, generator, 0.5).lengths.tolist()) == {1, 2, 3, 4}
    assert set(task.draw(200, generator).lengths.tolist()) == {4, 5, 6, 7, 8}

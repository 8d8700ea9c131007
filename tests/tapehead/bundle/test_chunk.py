"""A chunk made from a step: the same numbers, the same graph inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.hosting import load_model
from tapehead.bundle import BundleError, add_chunk, read_manifest, takes_chunks, verify
from tests.bundles import write_accumulator, write_two_states
from tests.quirks import write_counting, write_growing, write_rated, write_summing, write_windowed


@pytest.mark.parametrize("writer", [write_accumulator, write_two_states, write_rated])
def test_its_chunk_gives_what_its_steps_give(tmp_path: Path, writer: Callable[[Path], Path]):
    folder = writer(tmp_path)
    add_chunk(folder)

    assert verify(folder) == 0.0
    model = load_model(folder, max_batch=4)
    assert model.chunk_sizes == (32, 8, 2)  # the loader has compared them bit for bit
    assert model.max_batches["chunk/2"] == 4


def test_every_state_goes_from_step_to_step(tmp_path: Path):
    folder = write_two_states(tmp_path)
    add_chunk(folder)
    model = load_model(folder, max_batch=4)
    state = {name: array[np.newaxis] for name, array in model.initial_state.items()}

    outputs, after = model.runner.run("chunk", {"x": np.ones((1, 3, 4), np.float32)}, state, ("y",))

    assert outputs["y"][0, :, 0].tolist() == [2.25, 3.125, 3.5625]
    assert after["count"].tolist() == [[3]]


@pytest.mark.parametrize("writer", [write_windowed, write_growing, write_counting, write_summing])
def test_what_cannot_be_chunked_is_refused_and_left_alone(tmp_path: Path, writer: Callable[[Path], Path]):
    folder = writer(tmp_path)
    before = (folder / "manifest.json").read_bytes()

    assert not takes_chunks(read_manifest(folder))
    with pytest.raises(BundleError, match="expected single steps with inputs"):
        add_chunk(folder)
    assert (folder / "manifest.json").read_bytes() == before

"""A model whose rows see each other is found out before it is served in batches."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from service.hosting import Arrays, EntryVerdict, Model, check_batches, load_model
from service.hosting.model import Run
from service.hosting.selfcheck import batch_sizes
from tests.bundles import write_accumulator, write_two_states
from tests.qa_bundles import write_tiny_qa

Spoil = Callable[[str, Arrays, Arrays, Arrays, Arrays], None]


@dataclass(frozen=True)
class Spoiled:
    """A runner that runs `inner` and then changes its answer; `calls` counts."""

    inner: Run
    spoil: Spoil

    def run(self, entry: str, inputs: Arrays, state: Arrays, outputs: tuple[str, ...]) -> tuple[Arrays, Arrays]:
        given, next_state = self.inner.run(entry, inputs, state, outputs)
        self.spoil(entry, inputs, state, given, next_state)
        return given, next_state


def spoiled(model: Model, spoil: Spoil) -> Model:
    return replace(model, runner=Spoiled(model.runner, spoil))


def check_step(model: Model, max_batch: int, cache_folder: Path | None = None) -> EntryVerdict:
    return check_batches(model, max_batch, cache_folder).entries["step"]


def nudge(array: np.ndarray, row: int) -> None:
    """Changes the last bit of one number."""
    array[row] = np.nextafter(array[row], np.float32(np.inf), dtype=np.float32)


@pytest.fixture
def accumulator(tmp_path: Path) -> Model:
    return load_model(write_accumulator(tmp_path), max_batch=16)


@pytest.mark.parametrize("writer", [write_accumulator, write_two_states, write_tiny_qa])
def test_a_good_model_may_run_in_the_batches_that_were_tried(tmp_path: Path, writer):
    model = load_model(writer(tmp_path), max_batch=33)

    verdict = check_batches(model, 33)

    assert set(verdict.entries) == set(model.entries)
    assert set(verdict.entries.values()) == {EntryVerdict(33)}
    assert (model.batch_invariant, model.max_batch, model.batch_reason) == (True, 33, "")


def test_a_graph_that_subtracts_the_batch_mean_runs_one_row_at_a_time(tmp_path: Path):
    """The reason names entry, output and size for the log."""
    model = load_model(write_accumulator(tmp_path, mixes_batch=True))

    assert (model.batch_invariant, model.max_batch) == (False, 1)
    assert "entry 'step': row 0 of output 'y' in a batch of 2" in model.batch_reason


@pytest.mark.parametrize("size", [2, 3, 8, 15, 16])
@pytest.mark.parametrize("row", [0, -1])
def test_one_bit_of_one_row_of_one_size_is_enough(accumulator: Model, size: int, row: int):
    """Every tried size and both ends of it: plain batches are not used after that."""

    def spoil(entry, inputs, state, outputs, next_state) -> None:
        if len(inputs["x"]) == size:
            nudge(next_state["total"], row)

    assert check_step(spoiled(accumulator, spoil), 16) != EntryVerdict(16)


@pytest.mark.parametrize("multiple", [2, 4])
def test_a_leftover_at_the_end_is_cured_by_the_smallest_padding(accumulator: Model, multiple: int):
    """As where a kernel works on several elements at once and on the rest by other arithmetic."""

    def spoil(entry, inputs, state, outputs, next_state) -> None:
        for row in range(len(inputs["x"]) % multiple):
            nudge(next_state["total"], -1 - row)

    assert check_step(spoiled(accumulator, spoil), 20) == EntryVerdict(20, multiple)


def test_a_fault_that_only_an_evolved_state_shows_is_found(accumulator: Model):
    def spoil(entry, inputs, state, outputs, next_state) -> None:
        for row in np.flatnonzero((state["total"] != 0).all(1)):
            if row > 0:
                nudge(next_state["total"], row)

    verdict = check_step(spoiled(accumulator, spoil), 4)

    assert verdict.max_batch == 1
    assert "has other bits" in verdict.reason


def test_a_neighbour_at_an_extreme_that_leaks_is_found(accumulator: Model):
    """As where 0 x infinity of another row becomes NaN in this one."""

    def spoil(entry, inputs, state, outputs, next_state) -> None:
        if not np.isfinite(inputs["x"]).all():
            next_state["total"] += np.float32(np.nan)

    verdict = check_step(spoiled(accumulator, spoil), 4)

    assert verdict.max_batch == 1
    assert "has other bits" in verdict.reason


def test_an_output_that_changes_when_another_is_left_out_is_found(accumulator: Model):
    def spoil(entry, inputs, state, outputs, next_state) -> None:
        if "sum" not in outputs and outputs:
            nudge(outputs["y"], 0)

    verdict = check_step(spoiled(accumulator, spoil), 4)

    assert verdict.max_batch == 1
    assert "has other bits" in verdict.reason


def test_an_answer_that_depends_on_the_address_in_memory_is_found(accumulator: Model):
    """A state read from a record begins anywhere."""

    def spoil(entry, inputs, state, outputs, next_state) -> None:
        if state["total"].ctypes.data % 16:
            nudge(next_state["total"], 0)

    verdict = check_step(spoiled(accumulator, spoil), 4)

    assert verdict.max_batch == 1
    assert "has other bits" in verdict.reason


def test_a_model_that_answers_at_random_is_found(accumulator: Model):
    random = np.random.default_rng()

    def spoil(entry, inputs, state, outputs, next_state) -> None:
        next_state["total"] += random.random(next_state["total"].shape, np.float32)

    verdict = check_step(spoiled(accumulator, spoil), 4)

    assert "in a batch of 1" in verdict.reason


@pytest.mark.parametrize("entry", ["tell", "ask", "answer"])
def test_every_entry_of_a_question_model_is_checked(tmp_path: Path, entry: str):
    model = load_model(write_tiny_qa(tmp_path), max_batch=4)

    def spoil(called, inputs, state, outputs, next_state) -> None:
        rows = len(next(iter(inputs.values())))
        if called == entry and rows > 1:
            for array in (*outputs.values(), *next_state.values()):
                if array.dtype == np.float32:
                    nudge(array, 0)

    verdict = check_batches(spoiled(model, spoil), 4)

    assert verdict.reason.startswith(f"entry '{entry}'")
    assert {name for name, found in verdict.entries.items() if found.reason} == {entry}
    assert verdict.max_batches == {name: 1 if name == entry else 4 for name in model.entries}


def test_a_question_is_run_alone_rather_than_padded(tmp_path: Path):
    """A step with the same fault is padded."""
    model = load_model(write_tiny_qa(tmp_path), max_batch=4)

    def spoil(called, inputs, state, outputs, next_state) -> None:
        if len(next(iter(inputs.values()))) % 2:
            for array in (*outputs.values(), *next_state.values()):
                if array.dtype == np.float32:
                    nudge(array, -1)

    verdict = check_batches(spoiled(model, spoil), 4)

    assert verdict.multiples == {"tell": 2}
    assert verdict.max_batches == {"tell": 4, "ask": 1, "answer": 1}


def test_a_batch_that_cannot_be_run_at_all_is_a_difference_too(accumulator: Model):
    def spoil(entry, inputs, state, outputs, next_state) -> None:
        if len(inputs["x"]) > 2:
            raise RuntimeError("too many rows for this kernel")

    verdict = check_batches(spoiled(accumulator, spoil), 8)

    assert verdict.max_batches == {"step": 1}
    assert verdict.reason == "entry 'step': a batch of 3 cannot be run: too many rows for this kernel"


def test_a_next_state_of_another_length_is_a_difference(accumulator: Model):
    def spoil(entry, inputs, state, outputs, next_state) -> None:
        if len(inputs["x"]) > 1:
            next_state["total"] = next_state["total"][:1]

    assert "shape [1, 3], not [2, 3]" in check_step(spoiled(accumulator, spoil), 4).reason


@pytest.mark.parametrize("largest", [1, 2, 3, 4, 7, 8, 100, 128])
def test_the_sizes_hold_every_power_of_two_the_largest_and_an_odd_one(largest: int):
    sizes = batch_sizes(largest)

    assert sizes[0] == 1
    assert sizes[-1] == largest
    assert set(sizes) >= {2**n for n in range(8) if 2**n <= largest}
    assert largest < 3 or any(size % 2 and size > 1 for size in sizes)


def test_the_verdict_is_remembered_by_fingerprint(accumulator: Model, tmp_path: Path):
    """The second time nothing is run; under another fingerprint, or with other sizes, it is."""
    calls = []
    counting = spoiled(accumulator, lambda *_: calls.append(1))
    cache = tmp_path / "cache"
    first = check_batches(counting, 8, cache)
    runs = len(calls)

    assert check_batches(counting, 8, cache) == first
    assert len(calls) == runs > 0
    check_batches(counting, 4, cache)
    check_batches(replace(counting, fingerprint="other"), 8, cache)
    assert len(calls) > runs
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        '{"rules": 0, "entries": {}}',
        '{"rules": 2, "entries": 5}',
        '{"rules": 2, "entries": {"step": {"x": 1}}}',
    ],
)
def test_a_strange_cache_is_not_believed(accumulator: Model, tmp_path: Path, content: str):
    check_batches(accumulator, 4, tmp_path / "cache")
    (place,) = (tmp_path / "cache").iterdir()
    place.write_text(content)

    assert check_step(accumulator, 4, tmp_path / "cache") == EntryVerdict(4)
    assert json.loads(place.read_text())["entries"]["step"]["max_batch"] == 4


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(accumulator: Model, tmp_path: Path):
    (tmp_path / "cache").write_text("a file in the way")

    assert check_step(accumulator, 4, tmp_path / "cache") == EntryVerdict(4)

"""The repository serves what is sound, and says what is wrong with the rest."""

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.errors import ModelNotFound
from service.hosting import Model, Repository, load_model, repository
from tapehead.bundle import BundleError, read_manifest, to_array, write_manifest
from tests.bundles import write_accumulator, write_two_states
from tests.qa_bundles import write_tiny_qa
from tests.quirks import write_summing


def test_models_are_found_by_id_and_version(tmp_path: Path):
    """Version 0 is the newest; versions are numbers, so 10 is newer than 9."""
    for version in (9, 10, 1):
        write_accumulator(tmp_path, version=version)
    write_tiny_qa(tmp_path)

    models = Repository.load(tmp_path, max_batch=2)

    assert models.broken == {}
    assert models.get("accumulator").version == 10
    assert models.get("accumulator", 9).version == 9
    assert models.versions("accumulator") == [10, 9, 1]
    assert models.versions("nobody") == []
    listed = [(model.model_id, model.version) for model in models.models()]
    assert listed == [("accumulator", 10), ("accumulator", 9), ("accumulator", 1), ("tiny-qa", 1)]


@pytest.mark.parametrize(("model_id", "version"), [("nobody", 0), ("accumulator", 2), ("", 0)])
def test_an_unknown_model_is_not_found(tmp_path: Path, model_id: str, version: int):
    write_accumulator(tmp_path)

    with pytest.raises(ModelNotFound):
        Repository.load(tmp_path, max_batch=2).get(model_id, version)


def test_an_empty_or_missing_folder_holds_no_models(tmp_path: Path):
    assert Repository.load(tmp_path).models() == []
    assert Repository.load(tmp_path / "missing").models() == []


def test_a_broken_bundle_stops_none_of_the_others(tmp_path: Path):
    """Its reason is kept for whoever looks."""
    write_accumulator(tmp_path)
    (write_two_states(tmp_path) / "step.onnx").write_bytes(b"")

    models = Repository.load(tmp_path, max_batch=2)

    assert [model.model_id for model in models.models()] == ["accumulator"]
    assert list(models.broken) == ["two-states/1"]
    assert "step.onnx: expected" in models.broken["two-states/1"]


def test_a_bundle_that_surprises_the_loader_stops_none_of_the_others(tmp_path: Path, monkeypatch, caplog):
    """Our own bugs included: the reason for people has no traceback, the log has."""
    write_accumulator(tmp_path)
    write_two_states(tmp_path)
    monkeypatch.setattr("service.hosting.repository.run_seconds", _fails_for_two_states)

    models = Repository.load(tmp_path, max_batch=2)

    assert [model.model_id for model in models.models()] == ["accumulator"]
    assert models.broken["two-states/1"] == "ZeroDivisionError while loading it; the log has more"
    assert "two-states/1 cannot be loaded" in caplog.text


def _fails_for_two_states(model: Model, _place: Path | None) -> dict[str, tuple[tuple[int, float], ...]]:
    if model.model_id == "two-states":
        raise ZeroDivisionError
    return {}


def test_a_bundle_whose_probes_differ_is_refused_with_the_numbers(tmp_path: Path):
    folder = write_accumulator(tmp_path)
    manifest = read_manifest(folder)
    output = manifest.probes[0].calls[0].outputs[0]
    output.raw = (to_array(output) + np.float32(0.5)).tobytes()
    write_manifest(folder, manifest)

    reason = Repository.load(tmp_path).broken["accumulator/1"]

    assert "entry 'step') output 'y'[0]: expected 0.5, got 0.0" in reason


def test_a_bundle_in_the_wrong_folder_is_refused(tmp_path: Path):
    """Otherwise two folders could claim to be the same version."""
    folder = write_accumulator(tmp_path)
    folder.rename(folder.with_name("2"))

    with pytest.raises(BundleError, match="expected the folder accumulator/1"):
        load_model(folder.with_name("2"))


def test_a_loaded_sequence_model_says_what_it_takes_and_keeps(tmp_path: Path):
    model = load_model(write_accumulator(tmp_path, allow_non_finite=True), max_batch=4)
    step = model.entries["step"]

    assert model.kind == "sequence"
    assert model.vocabulary is None
    assert [(t.name, t.dtype, t.shape, t.inspection) for t in step.inputs] == [("x", np.float32, (3,), False)]
    assert [(t.name, t.inspection) for t in step.outputs] == [("y", False), ("sum", True)]
    assert (step.reads_state, step.writes_state) == (True, True)
    assert model.default_outputs("step") == ("y",)
    assert model.state_bytes == 12
    assert not model.state[0].reject_non_finite


def test_a_loaded_question_model_knows_its_words(tmp_path: Path):
    model = load_model(write_tiny_qa(tmp_path), max_batch=4)

    assert model.kind == "question_answering"
    assert set(model.entries) == {"tell", "ask", "answer"}
    assert model.vocabulary is not None
    assert model.vocabulary.encode("Where is Zoe?").unknown == ("zoe",)
    assert model.entries["answer"].inputs[0].shape == (-1, 6)
    assert model.default_outputs("tell") == ()


def test_the_initial_state_cannot_be_changed_by_a_session(tmp_path: Path):
    model = load_model(write_two_states(tmp_path), max_batch=2)

    with pytest.raises(ValueError, match="read-only"):
        model.initial_state["hidden"][0, 0] = 1


def test_the_time_of_a_run_is_predicted_for_every_entry_and_size(tmp_path: Path):
    model = load_model(write_tiny_qa(tmp_path), max_batch=32)

    for entry in model.entries:
        seconds = [model.seconds_per_run(entry, batch) for batch in (1, 2, 8, 20, 32)]
        assert all(0 < s < 60 for s in seconds)


def test_the_prediction_lies_on_straight_lines_between_measurements(tmp_path: Path):
    measured = {"step": ((1, 1.0), (8, 8.0), (32, 20.0))}
    model = Model(**{**vars(load_model(write_accumulator(tmp_path), max_batch=2)), "run_seconds": measured})

    assert [model.seconds_per_run("step", rows) for rows in (1, 4, 8, 20, 32, 64)] == [1, 4, 8, 14, 20, 40]


def test_a_model_that_cannot_be_batched_is_reported_in_the_log(tmp_path: Path, caplog):
    write_accumulator(tmp_path, mixes_batch=True)

    with caplog.at_level(logging.WARNING):
        Repository.load(tmp_path)

    assert "accumulator/1 runs one row at a time: entry 'step'" in caplog.text


def test_a_question_that_must_run_alone_holds_no_step_back(tmp_path: Path):
    """Steps and questions have limits of their own; what is said of the model is said of its steps."""
    models, cache = tmp_path / "models", tmp_path / "cache"
    write_tiny_qa(models)
    Repository.load(models, max_batch=8, cache_folder=cache)
    place = verdict_in(cache)
    content = json.loads(place.read_text())
    content["entries"]["ask"] |= {"max_batch": 1, "reason": "planted"}
    place.write_text(json.dumps(content))

    model = Repository.load(models, max_batch=8, cache_folder=cache).get("tiny-qa")

    assert (model.batch_invariant, model.max_batch) == (True, 8)
    assert [model.max_batch_of(entry) for entry in ("tell", "ask", "answer")] == [8, 1, 8]
    assert model.batch_reason == "entry 'ask': planted"


def test_a_second_load_remembers_the_self_check(tmp_path: Path):
    models, cache = tmp_path / "models", tmp_path / "cache"
    write_accumulator(models)
    first = Repository.load(models, max_batch=8, cache_folder=cache).get("accumulator")

    verdict = verdict_in(cache)
    content = json.loads(verdict.read_text())
    content["entries"]["step"]["max_batch"] = 2
    verdict.write_text(json.dumps(content))
    second = Repository.load(models, max_batch=8, cache_folder=cache).get("accumulator")

    assert (first.max_batch, second.max_batch) == (8, 2)


def verdict_in(cache: Path) -> Path:
    (place,) = (place for place in cache.iterdir() if not place.name.endswith(".times.json"))
    return place


def remembered_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[float], float]
) -> tuple[dict, dict]:
    """What a load remembered, after `change` was done to it, and the times of the next load on the same machine."""
    monkeypatch.setattr("service.hosting.calibration._measure", lambda *_: 1e-4)  # a machine that is always as fast
    models, cache = tmp_path / "models", tmp_path / "cache"
    write_summing(models)
    Repository.load(models, max_batch=8, cache_folder=cache)
    (place,) = cache.glob("*.times.json")
    told = {
        key: tuple((rows, change(took)) for rows, took in points)
        for key, points in json.loads(place.read_text()).items()
    }
    place.write_text(json.dumps(told))
    return told, dict(Repository.load(models, max_batch=8, cache_folder=cache).models()[0].run_seconds)


def test_a_second_load_remembers_how_long_runs_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told, got = remembered_times(tmp_path, monkeypatch, lambda took: took * 1.001)

    assert got == told


@pytest.mark.parametrize("factor", [1e3, 1e-3])
def test_a_machine_of_another_speed_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float):
    told, got = remembered_times(tmp_path, monkeypatch, lambda took: took * factor)

    assert got.keys() == told.keys()
    assert all(got[key] != told[key] for key in told)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"step": 3}', '{"step": [[1, -1.0]]}', '{"step": [["a", "b"]]}'])
def test_strange_times_are_not_believed(tmp_path: Path, content: str):
    models, cache = tmp_path / "models", tmp_path / "cache"
    write_accumulator(models)
    Repository.load(models, max_batch=8, cache_folder=cache)
    (place,) = cache.glob("*.times.json")
    place.write_text(content)

    model = Repository.load(models, max_batch=8, cache_folder=cache).get("accumulator")

    assert [rows for rows, _ in model.run_seconds["step"]] == [1, 8]


def test_a_run_of_several_steps_is_cut_to_its_time(tmp_path: Path):
    model = load_model(write_summing(tmp_path), max_batch=8)
    slow = {
        **model.run_seconds,
        "chunk/32": ((1, 0.03), (8, 0.2)),
        "chunk/8": ((1, 0.01), (8, 0.08)),
        "chunk/2": ((1, 0.001), (8, 0.002)),
    }

    cut = repository._cut_chunks(dataclasses.replace(model, run_seconds=slow))

    assert cut.chunk_sizes == (8, 2)
    assert (cut.max_batches["chunk/8"], cut.max_batches["chunk/2"]) == (2, 8)

"""Both families with attention, from a configuration to a bundle that writes its words step by step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tapehead.bundle import read_manifest, to_array, verify
from tests.training.tasks.attention_runs import tiny_attention
from training.errors import TrainingError
from training.evaluate import evaluate, load_trained
from training.experiment import build
from training.export import export
from training.networks.attention import END
from training.train import train

FAMILIES = ("captions", "translation")


@pytest.fixture(scope="module", params=FAMILIES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of each family."""
    folder = tmp_path_factory.mktemp(request.param)
    train(tiny_attention(folder, request.param), folder / "run", command="as typed")
    return folder / "run"


@pytest.fixture(scope="module")
def bundle(run: Path) -> Path:
    return export(run, run.parent / "models", 1)


def test_the_network_learns(tmp_path: Path) -> None:
    overrides = ("updates=80", "evaluate_every=80", "recipe.batch=8", "recipe.learning_rate=0.02")
    config = tiny_attention(tmp_path, "translation", *overrides, "task.training_sentences=2000")
    before = build(config).validate()["bits"]
    after = train(config, tmp_path / "run")["validation"]["bits"]

    assert after < 0.75 * before


def test_the_regulariser_evens_coverage_out(tmp_path: Path) -> None:
    """With much weight on it, attention becomes even, whatever that does to the words."""
    uneven = []
    for weight in (0.0, 20.0):
        overrides = ("updates=60", "evaluate_every=30", "recipe.learning_rate=0.01", f"recipe.coverage={weight}")
        config = tiny_attention(tmp_path, "translation", *overrides)
        uneven.append(train(config, tmp_path / f"run{weight:g}")["test"]["uneven_coverage"])

    assert uneven[1] < 0.5 * uneven[0]


def test_a_learned_tau_is_trained_kept_and_reported(tmp_path: Path) -> None:
    config = tiny_attention(tmp_path, "captions", 'recipe.tau="learned"')
    result = train(config, tmp_path / "run")

    assert result["test"]["tau"] != 1
    tau = load_trained(tmp_path / "run")[1].network.state_dict()["coverage.learned"]
    assert tau.item() == pytest.approx(result["test"]["tau"])


def test_a_negative_weight_of_the_regulariser_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"\[recipe\]: coverage: expected 0 or more, got -1"):
        build(tiny_attention(tmp_path, "captions", "recipe.coverage=-1"))


def test_the_bundle_starts_from_its_source_and_steps_without_input(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    start, step = manifest.entries

    assert (start.name, start.reads_state, start.writes_state, len(start.outputs)) == ("start", False, True, 0)
    assert (step.name, step.reads_state, step.writes_state, len(step.inputs)) == ("step", True, True, 0)
    assert [output.name for output in step.outputs] == ["word", "probabilities", "attention"]
    assert [output.inspection for output in step.outputs] == [False, False, True]
    assert verify(bundle) <= 1e-4
    assert 0 < manifest.provenance.export_difference <= 1e-4


def test_every_probe_starts_then_steps_to_the_end_and_beyond(bundle: Path, run: Path) -> None:
    manifest, experiment = read_manifest(bundle), load_trained(run)[1]
    for probe in manifest.probes:
        assert [call.entry for call in probe.calls] == ["start"] + ["step"] * (len(probe.calls) - 1)
        assert len(probe.calls) > 3
    pairs = next(iter(experiment.task.tests().values())).row(0)
    with torch.no_grad():
        expected = experiment.network.write(pairs.source, pairs.lengths, 100)[0][0].tolist()
    words = [int(to_array(call.outputs[0])) for call in manifest.probes[0].calls[1:]]

    padded = expected + [END] * len(words)
    assert words == padded[: len(words)]


def test_ids_have_words(bundle: Path, run: Path) -> None:
    task = load_trained(run)[1].task
    start, step = read_manifest(bundle).entries

    assert list(step.outputs[0].words) == list(task.words)
    assert step.outputs[0].words[END] == "<end>"
    assert list(start.inputs[0].words) == list(getattr(task, "source_words", []))


def test_people_see_source_words_and_where_each_looked(run: Path, bundle: Path) -> None:
    samples = evaluate(run)[2]

    assert "expected  " in samples
    assert "written   " in samples
    assert any(mark in samples for mark in ("(frame 1, ", "(the, ", "(a, ", "(some, "))
    assert (bundle / "attention.png").read_bytes().startswith(b"\x89PNG")
    assert "`attention.png`" in (bundle / "README.md").read_text()


def test_the_weights_that_samples_show_sum_to_one_before_the_end(run: Path) -> None:
    experiment = load_trained(run)[1]
    pairs = next(iter(experiment.task.tests().values()))
    with torch.no_grad():
        words, weights = experiment.network.write(pairs.source, pairs.lengths, experiment.task.limit)
    sums = weights.sum(2).numpy()
    ended = np.cumsum(words.numpy() == END, axis=1) - (words.numpy() == END) > 0

    np.testing.assert_allclose(sums[~ended], 1, atol=1e-5)
    assert not sums[ended].any()

"""The export: a bundle that the service can load and that answers as PyTorch does, or no bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tapehead.bundle import initial_state, read_manifest, verify
from training import export as exporting
from training.errors import TrainingError
from training.evaluate import evaluate, load_trained
from training.export import export, node_counts
from training.tasks.sequence_graphs import Step
from training.train import train

from .runs import tiny_config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs")
    train(tiny_config(folder, "updates=2"), folder / "run", command="python -m training train tiny.toml")
    return folder / "run"


@pytest.fixture(scope="module")
def bundle(run: Path) -> Path:
    """The bundle of that run."""
    return export(run, run.parent / "models", 3, beside=[run], note="What a person adds.")


def test_the_bundle_verifies_and_says_where_it_comes_from(bundle: Path) -> None:
    manifest = read_manifest(bundle)

    assert bundle.parts[-2:] == ("tiny-copy", "3")
    assert verify(bundle) <= 1e-4
    assert manifest.provenance.command == "python -m training train tiny.toml"
    assert 0 < manifest.provenance.export_difference <= 1e-4
    assert "wrong_bits_at_5" in manifest.provenance.measured
    assert manifest.provenance.parameter_count > 0


def test_the_initial_state_is_the_networks(bundle: Path, run: Path) -> None:
    state = initial_state(bundle, read_manifest(bundle))

    expected = load_trained(run)[1].network.initial_state(1)._asdict()
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value[0].detach().numpy())


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_step_in_onnxruntime_is_a_step_in_pytorch(bundle: Path, run: Path, batch: int) -> None:
    step = Step(load_trained(run)[1].network)
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"))
    names = [value.name for value in session.get_outputs()]
    seed = 11
    random = np.random.default_rng(seed)
    state = [value.repeat(batch, axis=0) for value in _initial(bundle)]

    for number in range(25):
        x = random.normal(size=(batch, 3)).astype(np.float32)
        feed = dict(zip([value.name for value in session.get_inputs()], [x, *state], strict=True))
        got = session.run(names, feed)
        with torch.no_grad():
            expected = step(*(torch.from_numpy(value) for value in (x, *state)))
        for name, one, other in zip(names, expected, got, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5, err_msg=f"{name}, step {number}, seed {seed}")
        state = got[-len(state) :]


def _initial(bundle: Path) -> list[np.ndarray]:
    manifest = read_manifest(bundle)
    state = initial_state(bundle, manifest)
    return [state[tensor.name][None] for tensor in manifest.state]


def test_a_row_has_the_same_bits_in_every_batch(bundle: Path) -> None:
    """The service may put a step with any others; with one thread, the kernels that the graph uses do not notice."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"), options)
    seed = 13
    random = np.random.default_rng(seed)
    for spread in (0.1, 1, 10):
        feed = {v.name: random.normal(0, spread, [33, *v.shape[1:]]).astype(np.float32) for v in session.get_inputs()}
        whole = session.run(None, feed)
        for batch in (1, 2, 3, 4, 5, 7, 8, 13, 16, 31):
            part = session.run(None, {name: value[:batch] for name, value in feed.items()})
            for value, one, other in zip(session.get_outputs(), whole, part, strict=True):
                assert np.array_equal(one[:batch], other), f"{value.name}, batch of {batch}, seed {seed}"


def test_the_graph_has_few_nodes_and_says_nothing_of_this_machine(bundle: Path) -> None:
    counts = node_counts(bundle)

    # 54 of a step, and the one that turns the memory into the tape for those who ask for it.
    assert counts["model.onnx"][1] <= 55
    assert counts["chunk.onnx"] == (1, 1)  # a loop
    assert str(Path(__file__).parents[2]).encode() not in (bundle / "model.onnx").read_bytes()


def test_lower_bounds_survive_the_export(bundle: Path) -> None:
    """An all-zero state and extreme input must not give NaN."""
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"))
    for scale in (0.0, 1e30):
        feed = {value.name: np.zeros([1, *value.shape[1:]], np.float32) for value in session.get_inputs()}
        feed["x"][:] = scale

        assert all(np.isfinite(value).all() for value in session.run(None, feed))


def test_inspection_outputs_are_recorded_once_a_probe(bundle: Path) -> None:
    for probe in read_manifest(bundle).probes:
        if probe.calls[0].entry == "step":
            assert [len(call.outputs) for call in probe.calls] == [1] * (len(probe.calls) - 1) + [4]


def test_a_stepped_network_takes_chunks(bundle: Path) -> None:
    manifest = read_manifest(bundle)

    assert {entry.name for entry in manifest.entries} == {"step", "chunk"}
    assert [call.entry for call in manifest.probes[-1].calls] == ["chunk"]
    assert "chunk.onnx" in (bundle / "README.md").read_text()


def test_the_card_shows_results_seeds_and_command(bundle: Path) -> None:
    card = (bundle / "README.md").read_text()

    assert "python -m training train tiny.toml" in card
    assert "| | run | run |" in card
    assert "\n\nWhat a person adds.\n\n" in card
    assert "Largest difference between onnxruntime and PyTorch" in card
    for figure in bundle.glob("*.png"):
        assert f"({figure.name})" in card


def test_a_bundle_is_evaluated_like_its_run(bundle: Path, run: Path) -> None:
    assert evaluate(bundle) == evaluate(run)


def test_a_graph_that_disagrees_is_not_written(
    bundle: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> onnx.ModelProto:
        model = onnx.load(bundle / "model.onnx")
        weights = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("output.weight"))
        weights.raw_data = (np.frombuffer(weights.raw_data, np.float32) + 0.1).astype(np.float32).tobytes()
        return model

    monkeypatch.setattr(exporting, "to_onnx", broken)

    with pytest.raises(TrainingError, match=r"entry 'step', call 1, 'y': onnxruntime and PyTorch differ by"):
        export(run, tmp_path, 1)
    assert not list(tmp_path.iterdir())


def test_a_bundle_is_not_overwritten_unawares(bundle: Path, run: Path) -> None:
    with pytest.raises(TrainingError, match=r"tiny-copy/3: is there already; expected a new version \(or --replace\)"):
        export(run, bundle.parents[1], 3)


def test_a_bundle_is_exported_again_as_its_run_was(bundle: Path, tmp_path: Path) -> None:
    again = export(bundle, tmp_path, 3)

    one, other = read_manifest(bundle), read_manifest(again)
    assert [file.path for file in other.files] == [file.path for file in one.files]
    assert {file.path for file, before in zip(other.files, one.files, strict=True) if file != before} <= {"README.md"}
    assert (again / "README.md").read_text() == (bundle / "README.md").read_text()


def test_an_unfinished_run_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"none: no such folder; expected a training run or a bundle"):
        export(tmp_path / "none", tmp_path, 1)
    with pytest.raises(TrainingError, match=r"expected best.safetensors \(a run\) or weights.safetensors \(a bundle\)"):
        load_trained(tmp_path)
    with pytest.raises(TrainingError, match=r"result.json: no such file; expected a run that has finished"):
        export(run, tmp_path, 1, beside=[tmp_path])

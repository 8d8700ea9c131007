"""Bundles are written whole and verified; probes that differ are found with their numbers."""

import json
from pathlib import Path

import numpy as np
import pytest

from tapehead.bundle import BundleError, read_manifest, to_array, verify, write_bundle, write_manifest
from tapehead.v1.manifest_pb2 import Manifest
from tests.bundles import accumulator_manifest, accumulator_parts, onnx_bytes, write_accumulator, write_two_states
from tests.qa_bundles import write_tiny_qa

GRAPH = onnx_bytes(*accumulator_parts())
ONES = np.ones(3, np.float32)


def write(folder: Path, manifest: Manifest | None = None, **changes: object) -> Manifest:
    arguments = {"files": {"model.onnx": GRAPH}, "probe_calls": [[("step", {"x": ONES})]], "tolerance": 0.0}
    return write_bundle(folder, manifest or accumulator_manifest(), **(arguments | changes))  # type: ignore[arg-type]


def test_probes_record_what_the_graphs_give(tmp_path: Path):
    """The state goes from each call of a probe to the next."""
    manifest = write(tmp_path, probe_calls=[[("step", {"x": ONES}), ("step", {"x": ONES})]])

    first, second = manifest.probes[0].calls
    assert to_array(first.outputs[0]).tolist() == [1, 1, 1]
    assert to_array(second.outputs[0]).tolist() == [2, 2, 2]
    assert to_array(second.outputs[1]).tolist() == [6]


def test_what_is_written_is_what_is_returned_and_read(tmp_path: Path):
    given = accumulator_manifest()

    written = write(tmp_path, given)

    assert read_manifest(tmp_path) == written
    assert [file.path for file in written.files] == ["model.onnx"]
    assert not given.files  # the caller's is left alone


@pytest.mark.parametrize("writer", [write_accumulator, write_two_states, write_tiny_qa])
def test_a_bundle_verifies_on_the_machine_that_wrote_it(tmp_path: Path, writer):
    assert verify(writer(tmp_path)) == 0.0


def test_a_probe_that_differs_is_refused_with_its_numbers(tmp_path: Path):
    """The message names entry, call, output, index, expected and got."""
    manifest = write(tmp_path)
    output = manifest.probes[0].calls[0].outputs[0]
    output.raw = np.array([1, 1.5, 1], np.float32).tobytes()
    write_manifest(tmp_path, manifest)

    message = r"probe 1 call 1 \(entry 'step'\) output 'y'\[1\]: expected 1.5, got 1.0; the difference 0.5 is above"
    with pytest.raises(BundleError, match=message):
        verify(tmp_path)


def test_a_difference_within_the_tolerance_is_returned(tmp_path: Path):
    manifest = write(tmp_path, tolerance=0.5)
    manifest.probes[0].calls[0].outputs[0].raw = np.array([1, 1.25, 1], np.float32).tobytes()
    write_manifest(tmp_path, manifest)

    assert verify(tmp_path) == 0.25


def test_nan_and_infinity_are_as_good_as_themselves_only(tmp_path: Path):
    odd = np.array([np.nan, np.inf, -np.inf], np.float32)
    manifest = write(tmp_path, probe_calls=[[("step", {"x": odd})]])
    assert verify(tmp_path) == 0.0

    manifest.probes[0].calls[0].outputs[0].raw = np.array([np.nan, -np.inf, -np.inf], np.float32).tobytes()
    write_manifest(tmp_path, manifest)

    with pytest.raises(BundleError, match=r"'y'\[1\]: expected -inf, got inf"):
        verify(tmp_path)


def test_a_probe_of_another_shape_is_refused(tmp_path: Path):
    manifest = write(tmp_path)
    output = manifest.probes[0].calls[0].outputs[0]
    output.shape[:] = [3, 1]
    write_manifest(tmp_path, manifest)

    with pytest.raises(BundleError, match=r"'y': expected float32 \[3, 1\], got float32 \[3\]"):
        verify(tmp_path)


def test_a_missing_graph_is_refused_before_anything_is_written(tmp_path: Path):
    with pytest.raises(BundleError, match=r"'model\.onnx' is named by the manifest"):
        write(tmp_path / "new", files={})

    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("path", ["../outside.txt", "/outside.txt", "manifest.json"])
def test_files_outside_the_bundle_are_not_written(tmp_path: Path, path: str):
    with pytest.raises(BundleError, match="file "):
        write(tmp_path / "new", files={"model.onnx": GRAPH, path: b"1"})

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([("walk", {"x": ONES})], "no entry 'walk'"),
        ([("step", {"z": ONES})], "tensor 'x' is missing"),
        ([("step", {"x": ONES.astype(np.float64)})], "expected float32, got float64"),
        ([("step", {"x": np.ones((2, 2), np.float32)})], "onnxruntime cannot run it"),
    ],
    ids=["entry", "input", "dtype", "shape"],
)
def test_a_probe_that_cannot_be_run_is_refused(tmp_path: Path, calls, message: str):
    with pytest.raises(BundleError, match=message):
        write(tmp_path, probe_calls=[calls])


def test_a_graph_that_onnxruntime_cannot_open_is_refused(tmp_path: Path):
    nodes, *rest = accumulator_parts()
    nodes[0].op_type = "NoSuchOperator"

    with pytest.raises(BundleError, match=r"model\.onnx: onnxruntime refuses it"):
        write(tmp_path, files={"model.onnx": onnx_bytes(nodes, *rest)})


def test_the_manifest_is_plain_json_with_the_names_of_the_contract(tmp_path: Path):
    write(tmp_path)

    content = json.loads((tmp_path / "manifest.json").read_text())

    assert content["model_id"] == "accumulator"
    assert content["entries"][0]["reads_state"] is True

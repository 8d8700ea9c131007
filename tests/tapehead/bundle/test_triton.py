"""A bundle as a Triton model: Triton's own messages read its configuration, and its graph steps as the bundle's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tapehead.bundle import BundleError, to_array
from tapehead.bundle.adopt import adopt
from tapehead.bundle.choices import Choices
from tapehead.bundle.manifest import read_manifest
from tapehead.bundle.runtime import onnxruntime
from tapehead.bundle.triton import export_triton
from tests.bundles import onnx_bytes, value, write_accumulator, write_two_states
from tests.qa_bundles import write_tiny_qa
from tests.quirks import write_counting, write_growing, write_rated, write_summing, write_unbatched, write_windowed

# In a process of its own: the client's messages have the names of ours.
READ = """
import sys
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
config = text_format.Parse(open(sys.argv[1]).read(), model_config_pb2.ModelConfig())
print(json_format.MessageToJson(config, preserving_proto_field_name=True))
"""
DTYPES = {"TYPE_FP32": np.float32, "TYPE_INT64": np.int64, "TYPE_BOOL": np.bool_}


def config_of(target: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", READ, str(target / "config.pbtxt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def lengths(tensor: dict[str, Any]) -> list[int]:
    return [int(length) for length in tensor["dims"]]


def step_as_triton(
    target: Path, config: dict[str, Any], calls: list[dict[str, np.ndarray]]
) -> list[dict[str, np.ndarray]]:
    """Keeps the state as Triton's sequence batcher does: pairs by sorted names, a batch of one in front if batched."""
    batch = [1] if config.get("max_batch_size", 0) else []
    states = config["sequence_batching"]["state"]
    pairs = dict(zip(sorted(s["input_name"] for s in states), sorted(s["output_name"] for s in states), strict=True))
    assert pairs == {s["input_name"]: s["output_name"] for s in states}
    held = {}
    for state in states:
        [initial] = state["initial_state"]
        dtype, shape = DTYPES[initial["data_type"]], batch + lengths(initial)
        assert (initial["data_type"], lengths(initial), initial["name"] != "") == (
            state["data_type"],
            lengths(state),
            True,
        )
        if "data_file" in initial:
            raw = (target / "initial_state" / initial["data_file"]).read_bytes()
            held[state["input_name"]] = np.frombuffer(raw, dtype).reshape(shape)
        else:
            assert initial["zero_data"]
            held[state["input_name"]] = np.zeros(shape, dtype)
    [version] = [place for place in target.iterdir() if place.name.isdecimal()]
    onnx.checker.check_model(onnx.load(version / "model.onnx"))
    session = onnxruntime.InferenceSession(str(version / "model.onnx"), providers=["CPUExecutionProvider"])
    names, answers = [one["name"] for one in config["output"]], []
    for call in calls:
        feed = {}
        for tensor in config["input"]:
            shape = (
                lengths(tensor["reshape"]) if "reshape" in tensor and "dims" in tensor["reshape"] else lengths(tensor)
            )
            shape = [] if "reshape" in tensor else shape
            feed[tensor["name"]] = call[tensor["name"]].reshape(batch + shape)
        values = session.run([*names, *pairs.values()], {**feed, **held})
        held = dict(zip(pairs, values[len(names) :], strict=True))
        answers.append(dict(zip(names, values, strict=False)))
    return answers


def crossed(models: Path) -> Path:
    """Two states whose outputs' names sort the other way round than their inputs'."""
    nodes = [
        helper.make_node("Add", ["a_in", "x"], ["z_out"]),
        helper.make_node("Sub", ["b_in", "x"], ["c_out"]),
        helper.make_node("Mul", ["z_out", "c_out"], ["y"]),
    ]
    shape: list[str | int] = ["batch", 2]
    place = models / "crossed.onnx"
    inputs, outputs = (
        [value(n, shape) for n in ("x", "a_in", "b_in")],
        [value(n, shape) for n in ("y", "z_out", "c_out")],
    )
    place.write_bytes(onnx_bytes(nodes, inputs, outputs))
    adopt(place, models / "crossed" / "1", Choices(states={"a_in": "z_out", "b_in": "c_out"}), {}, chunks=False)
    return models / "crossed" / "1"


@pytest.mark.parametrize(
    "write", [write_accumulator, write_two_states, write_unbatched, crossed], ids=lambda w: w.__name__
)
def test_triton_reads_it_and_steps_it_as_the_bundle_does(tmp_path: Path, write):
    folder = write(tmp_path)
    target = export_triton(folder, tmp_path / "triton")
    config = config_of(target)

    manifest = read_manifest(folder)
    [entry] = manifest.entries
    graph_names = {t.name: t.graph_name or t.name for t in (*entry.inputs, *entry.outputs)}
    calls = manifest.probes[0].calls
    got = step_as_triton(target, config, [{graph_names[t.name]: to_array(t) for t in call.inputs} for call in calls])

    assert config["name"] == manifest.model_id
    assert config["backend"] == "onnxruntime"
    for call, answer in zip(calls, got, strict=True):
        for tensor in call.outputs:
            expected, given = to_array(tensor), answer[graph_names[tensor.name]]
            np.testing.assert_array_equal(given.reshape(expected.shape), expected)


def test_the_batch_is_tritons_only_where_it_is_in_front_everywhere(tmp_path: Path):
    front = config_of(export_triton(write_accumulator(tmp_path), tmp_path / "triton"))
    inside = config_of(export_triton(write_two_states(tmp_path), tmp_path / "triton"))

    assert front["max_batch_size"] == 128
    assert lengths(front["input"][0]) == [3]
    assert inside.get("max_batch_size", 0) == 0
    assert {s["input_name"]: lengths(s) for s in inside["sequence_batching"]["state"]} == {
        "h": [2, 1, 4],
        "state.count": [1, 1],
    }


def test_steps_along_an_axis_are_of_any_number(tmp_path: Path):
    config = config_of(export_triton(write_summing(tmp_path), tmp_path / "triton"))

    assert config.get("max_batch_size", 0) == 0
    assert lengths(config["input"][0]) == [-1, 1, 2]


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (write_rated, "input 'rate': it is given once a session"),
        (write_windowed, "input 'x': the end of one is put in front of the next"),
        (write_growing, "state 'past': it grows"),
        (write_counting, "entry 'start'"),
        (write_tiny_qa, "only sequence models"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_triton_has_nothing_for_is_refused_with_the_reason(tmp_path: Path, write, reason: str):
    with pytest.raises(BundleError, match=reason):
        export_triton(write(tmp_path), tmp_path / "triton")

    assert not (tmp_path / "triton").exists()


def test_nothing_is_overwritten(tmp_path: Path):
    folder = write_accumulator(tmp_path)
    export_triton(folder, tmp_path / "triton")

    with pytest.raises(BundleError, match="is there already"):
        export_triton(folder, tmp_path / "triton")

"""Bring your own ONNX file: look at what would be made of it, make it a bundle, serve it, step it.

    python examples/own_model.py

The model is a filter with two states, made by hand here so that nothing else is needed; any exporter's file will do.
To look at it first: `tapehead bundle inspect filter.onnx`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from own_server import serving

import tapehead

FLOAT = TensorProto.FLOAT
TAPEHEAD = str(Path(sys.executable).with_name("tapehead"))


def write_filter(place: Path) -> None:
    """Follows the level of a signal, slowly, and says how far each sample is from it in units of the usual distance."""
    shape = ["batch", 1]
    nodes = [
        helper.make_node("Sub", ["x", "level_in"], ["distance"]),
        helper.make_node("Mul", ["distance", "rate"], ["correction"]),
        helper.make_node("Add", ["level_in", "correction"], ["level_out"]),
        helper.make_node("Abs", ["distance"], ["size"]),
        helper.make_node("Sub", ["size", "spread_in"], ["surprise"]),
        helper.make_node("Mul", ["surprise", "rate"], ["widening"]),
        helper.make_node("Add", ["spread_in", "widening"], ["spread_out"]),
        helper.make_node("Add", ["spread_in", "least"], ["unit"]),
        helper.make_node("Div", ["size", "unit"], ["oddness"]),
    ]
    inputs = [helper.make_tensor_value_info(name, FLOAT, shape) for name in ("x", "level_in", "spread_in")]
    outputs = [helper.make_tensor_value_info(name, FLOAT, shape) for name in ("oddness", "level_out", "spread_out")]
    constants = {"rate": 0.1, "least": 0.05}
    weights = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "filter", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), place)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_filter(folder / "filter.onnx")
        bundle = folder / "models" / "filter" / "1"
        subprocess.run([TAPEHEAD, "bundle", "build", str(folder / "filter.onnx"), str(bundle)], check=True)
        samples = np.random.default_rng(5).normal(20, 0.5, 200).astype(np.float32)
        samples[150] += 6  # something happens
        with (
            serving("--models", str(folder / "models")) as server,
            tapehead.connect(server) as client,
            client.session("filter") as session,
        ):
            oddness = [float(result.output[0]) for result in session.stream(samples[:, np.newaxis])]
    settled = oddness[60:]  # the level is 0 at first
    print(f"the oddest sample is number {60 + int(np.argmax(settled))}: {max(settled):.1f} times the usual distance")


if __name__ == "__main__":
    main()

"""The rewrites: fewer nodes, the same function, and hands off what only looks alike."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.parser import parse_model

from training.rewrites import simplify

HEAD = '<ir_version: 9, opset_import: ["" : 20]>'

WRAP = """
  ends = Slice(x, {start}, end, axis, one)
  starts = Slice(x, zero, one, axis, one)
  y = Concat<axis=-1>(ends, x, starts)
"""
NORM = """
  norm = ReduceL2<keepdims=1, noop_with_empty_axes=0>(x, last)
  guarded = Clip(norm, {bound})
  y = Div(x, guarded)
"""
SOFTPLUS = """
  soft = Softplus(x)
  above = Greater(x, twenty)
  y = Where(above, x, soft)
"""
SUM = """
  part = Add(x, x)
  y = Add(part, twenty)
"""
TOTAL = """
  y = ReduceSum<keepdims={keeps}>(x, {axis})
"""


def model(body: str, out: str = "B, 2, M") -> onnx.ModelProto:
    """A graph of one input [B, 2, 5] and the constants that the bodies above name."""
    constants = """<int64[1] minus = {-1}, int64[1] minus_two = {-2}, int64[1] end = {9223372036854775807},
      int64[1] axis = {2}, int64[1] one = {1}, int64[1] zero = {0}, int64[1] last = {-1},
      float tiny = {1e-6}, float large = {0.5}, float twenty = {20.0}>"""
    return parse_model(f"{HEAD} g (float[B, 2, 5] x) => (float[{out}] y) {constants} {{ {body} }}")


def run(graph: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    result: np.ndarray = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"x": x})[0]
    return result


@pytest.mark.parametrize(
    ("body", "operators"),
    [
        (WRAP.format(start="minus"), ["Pad"]),
        (NORM.format(bound="tiny"), ["LpNormalization"]),
        (SOFTPLUS, ["Softplus"]),
        (SUM, ["Sum"]),
        (TOTAL.format(axis="last", keeps=1), ["MatMul", "ReduceMax"]),
        (TOTAL.format(axis="minus_two", keeps=1), ["MatMul"]),
        (TOTAL.format(axis="zero", keeps=1), ["ReduceSum"]),
        (WRAP.format(start="minus_two"), ["Slice", "Slice", "Concat"]),
        (NORM.format(bound="large"), ["ReduceL2", "Clip", "Div"]),
    ],
    ids=[
        "wrap",
        "norm",
        "softplus",
        "sum",
        "total",
        "total of a middle axis",
        "total of the batch",
        "not a wrap",
        "not a guard",
    ],
)
def test_a_rewrite_is_the_same_function(body: str, operators: list[str]) -> None:
    before = model(body)
    after = simplify(model(body))

    assert [node.op_type for node in after.graph.node] == operators
    seed = 7
    x = np.random.default_rng(seed).normal(scale=10, size=(3, 2, 5)).astype(np.float32)
    x[0, 0] = 0
    np.testing.assert_allclose(run(after, x), run(before, x), rtol=1e-5, err_msg=f"seed {seed}")

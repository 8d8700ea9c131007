"""Rewrites of exported graphs: the same function in fewer nodes, because at a batch of one the nodes are the cost.

Every rule is exact up to rounding, and the exporter compares the rewritten graph with PyTorch before it writes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import DeduplicateInitializersPass
from onnxscript.rewriter import pattern, rewrite

LARGEST_SHARED = 2**30  # elements of a constant that is looked for twice: any
LARGEST_NORM_BOUND = 1e-5  # a lower bound up to this only guards against a division by zero

LANES = 4  # of the registers that reductions use: rows of a multiple of so many numbers all begin alike


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Applies all rules until none fits."""
    rules = [
        pattern.RewriteRule(_guarded_softplus, _softplus),
        pattern.RewriteRule(_joined_slices, _wrap, _joins_ends),
        pattern.RewriteRule(_divided_by_norm, _normalized, _only_guards),
        pattern.RewriteRule(_two_additions, _sum),
        pattern.RewriteRule(_sum_over_axis, _product_with_ones, _is_one_near_axis),
    ]
    simplified = ir.from_proto(rewrite(model, pattern_rewrite_rules=pattern.RewriteRuleSet(rules)))
    # A network that uses its weights several times has them in the graph once for each time.
    DeduplicateInitializersPass(size_limit=LARGEST_SHARED)(simplified)
    return ir.to_proto(simplified)


# PyTorch's softplus becomes linear above a threshold; ONNX's is exact everywhere.
def _guarded_softplus(op: Any, x: Any, threshold: Any) -> Any:
    return op.Where(op.Greater(x, threshold), x, op.Softplus(x))


def _softplus(op: Any, x: Any, **_: Any) -> Any:
    return op.Softplus(x)


# The last element, everything, the first element: a ring laid out with one element of overlap at both ends.
def _joined_slices(op: Any, x: Any, start: Any, end: Any, first: Any, last: Any, axis: Any, stride: Any) -> Any:
    before = op.Slice(x, start, end, axis, stride)
    after = op.Slice(x, first, last, axis, stride)
    return op.Concat(before, x, after, axis=-1)


def _joins_ends(
    context: Any, x: Any, start: Any, end: Any, first: Any, last: Any, axis: Any, stride: Any, **_: Any
) -> bool:
    values = [_constant(value) for value in (start, end, first, last, stride)]
    if x.shape is None or any(value is None for value in values) or _constant(axis) not in (2, -1):
        return False
    begin, stop = values[0], values[1]
    return len(x.shape) == 3 and begin == -1 and stop > 2**30 and values[2:] == [0, 1, 1]


def _wrap(op: Any, x: Any, **_: Any) -> Any:
    pads = op.initializer(ir.tensor(np.array([0, 0, 1, 0, 0, 1], np.int64)), name=f"{x.name}.ring")
    return op.Pad(x, pads, mode="wrap")


def _divided_by_norm(op: Any, x: Any, axes: Any, bound: Any) -> Any:
    return op.Div(x, op.Clip(op.ReduceL2(x, axes, keepdims=1, noop_with_empty_axes=0), bound))


def _only_guards(context: Any, axes: Any, bound: Any, **_: Any) -> bool:
    value = _constant(bound)
    return _constant(axes) == -1 and value is not None and 0 <= value <= LARGEST_NORM_BOUND


def _normalized(op: Any, x: Any, **_: Any) -> Any:
    return op.LpNormalization(x, axis=-1, p=2)


def _two_additions(op: Any, x: Any, y: Any, z: Any) -> Any:
    return op.Add(op.Add(x, y), z)


def _sum(op: Any, x: Any, y: Any, z: Any) -> Any:
    return op.Sum(x, y, z)


# Sums over one of the last two axes. A reduction adds in an order that depends on where in a vector register a row
# begins, and on whether the batch is one row; a matrix product does not, so that rows can share a batch.
def _sum_over_axis(op: Any, x: Any, axis: Any) -> Any:
    return op.ReduceSum(x, axis, _allow_other_attributes=True, _outputs=["total"])


def _is_one_near_axis(context: Any, x: Any, axis: Any, **_: Any) -> bool:
    place = _constant(axis)
    if x.shape is None or place is None or x.dtype != ir.DataType.FLOAT or len(x.shape) < 3:
        return False
    distance = place % len(x.shape) - len(x.shape)
    count = x.shape[distance]
    if distance < -2 or not isinstance(count, int):
        return False
    return distance == -2 or count % LANES != 0


def _product_with_ones(op: Any, x: Any, axis: Any, total: Any) -> Any:
    distance = _constant(axis) % len(x.shape) - len(x.shape)
    keeps = total.producer().attributes.get_int("keepdims", 1)
    count = x.shape[distance]
    # With a single column other kernels add, whose order depends on the row again.
    shape = (count, 2) if distance == -1 else (1, count) if keeps else (count,)
    ones = op.initializer(ir.tensor(np.ones(shape, np.float32)), name=f"{total.name}.ones")
    if distance == -2:
        return op.MatMul(ones, x)
    last = op.initializer(ir.tensor(np.array([-1])), name=f"{total.name}.axis")
    return op.ReduceMax(op.MatMul(x, ones), last, keepdims=keeps)


def _constant(value: Any) -> Any:
    """The number that a value always is, or None."""
    array = value.const_value
    return array.numpy().item() if array is not None and array.size == 1 else None

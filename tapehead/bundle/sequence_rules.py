"""The rules that only the manifest of a sequence model can break."""

from __future__ import annotations

import math

from tapehead.bundle import limits
from tapehead.bundle.errors import BundleError
from tapehead.bundle.ports import CHUNK
from tapehead.bundle.tensors import dtype_of
from tapehead.v1.manifest_pb2 import Entry, EntryTensor, Manifest


def check_sequence(manifest: Manifest) -> None:
    """Raises BundleError where steps, chunks, constants and carried inputs do not fit together."""
    entries = {entry.name: entry for entry in manifest.entries}
    if not entries.keys() & {"step", CHUNK}:
        raise BundleError("entries: MODEL_KIND_SEQUENCE needs the entry 'step', or 'chunk' for several steps a call")
    for entry in manifest.entries:
        for tensor in entry.inputs:
            _check_input(entry, tensor)
        for tensor in entry.outputs:
            _check_output(entry, tensor)
    for name in entries.keys() & {"step", CHUNK}:
        _check_step_axes(entries[name])
    if {"step", CHUNK} <= entries.keys():
        _check_alike(entries["step"], entries[CHUNK])
    _check_constants(manifest)


def check_plain(manifest: Manifest) -> None:
    """Raises BundleError where a question-answering model asks for what only steps have."""
    for entry in manifest.entries:
        for tensor in (*entry.inputs, *entry.outputs):
            if tensor.constant or tensor.HasField("carry") or tensor.HasField("step_axis"):
                raise BundleError(
                    f"entry {entry.name!r} tensor {tensor.name!r}: step_axis, carry and constant are for models of "
                    "MODEL_KIND_SEQUENCE"
                )
    for state in manifest.state:
        if -1 in state.shape:
            raise BundleError(f"state {state.name!r}: only a model of MODEL_KIND_SEQUENCE has state that grows")


def _check_input(entry: Entry, tensor: EntryTensor) -> None:
    where = f"entry {entry.name!r} input {tensor.name!r}"
    if tensor.constant and any(length < 1 for length in tensor.shape):
        raise BundleError(f"{where}: expected a fixed shape of a constant, got {list(tensor.shape)}")
    if tensor.constant_batched and (not tensor.constant or tensor.batch_axis < 0):
        raise BundleError(f"{where}: constant_batched is for a constant that has a batch_axis")
    if tensor.constant and (tensor.HasField("carry") or tensor.HasField("step_axis")):
        raise BundleError(f"{where}: a constant has neither step_axis nor carry")
    if tensor.words and dtype_of(tensor.dtype).kind not in "iu":
        raise BundleError(f"{where}: expected an integer type beside its words")
    if not tensor.HasField("carry"):
        return
    if entry.name != "step":
        raise BundleError(f"{where}: only an input of 'step' can carry its end to the next step")
    if tensor.carry.last < 1:
        raise BundleError(f"{where}: expected to carry 1 element or more, got {tensor.carry.last}")
    if not 0 <= tensor.carry.axis < len(tensor.shape):
        raise BundleError(f"{where}: expected to carry along an axis of {list(tensor.shape)}, got {tensor.carry.axis}")
    if any(length < 1 for axis, length in enumerate(tensor.shape) if axis != tensor.carry.axis):
        raise BundleError(f"{where}: expected a fixed shape beside the carried axis, got {list(tensor.shape)}")


def _check_output(entry: Entry, tensor: EntryTensor) -> None:
    if tensor.constant or tensor.HasField("carry"):
        raise BundleError(f"entry {entry.name!r} output {tensor.name!r}: carry and constant are for inputs")
    if tensor.words and dtype_of(tensor.dtype).kind not in "iu":
        raise BundleError(f"entry {entry.name!r} output {tensor.name!r}: expected an integer type beside its words")


def _check_step_axes(entry: Entry) -> None:
    """A graph takes several steps a call in all of its tensors or in none."""
    tensors = [tensor for tensor in (*entry.inputs, *entry.outputs) if not tensor.constant]
    with_axis = [tensor for tensor in tensors if tensor.HasField("step_axis")]
    if entry.name == CHUNK and not any(tensor.HasField("step_axis") for tensor in entry.inputs):
        raise BundleError(f"entry {CHUNK!r}: expected an input with a step_axis")
    for tensor in tensors if with_axis else ():
        where = f"entry {entry.name!r} tensor {tensor.name!r}"
        if not tensor.HasField("step_axis"):
            raise BundleError(f"{where}: expected a step_axis, as {with_axis[0].name!r} has one")
        rank = len(tensor.shape) + (tensor.batch_axis >= 0)
        if not 0 <= tensor.step_axis <= rank or tensor.step_axis == tensor.batch_axis:
            raise BundleError(
                f"{where}: expected a step axis from 0 to {rank} other than the batch axis, got {tensor.step_axis}"
            )


def _check_alike(step: Entry, chunk: Entry) -> None:
    if any(tensor.HasField("carry") for tensor in step.inputs):
        raise BundleError("entry 'chunk': a model that carries the end of an input has no chunks")
    there = {tensor.name for tensor in chunk.outputs}
    # A loop computes all that it gives, wanted or not: what is for inspection may be left to single steps.
    outputs = [tensor for tensor in step.outputs if tensor.name in there or not tensor.inspection]
    for role, one, other in (("input", step.inputs, chunk.inputs), ("output", outputs, chunk.outputs)):
        if [_facts(tensor) for tensor in one] != [_facts(tensor) for tensor in other]:
            raise BundleError(
                f"entry 'chunk': expected the {role}s of 'step', each with a step_axis beside: "
                f"{[tensor.name for tensor in one]}; got {[tensor.name for tensor in other]}"
            )


def _facts(tensor: EntryTensor) -> tuple[object, ...]:
    return (
        tensor.name,
        tensor.dtype,
        tuple(tensor.shape),
        tensor.inspection,
        tensor.non_finite,
        tensor.constant,
        tuple(tensor.words),
    )


def _check_constants(manifest: Manifest) -> None:
    known: dict[str, EntryTensor] = {}
    size = 0
    for entry in manifest.entries:
        for tensor in entry.inputs:
            other = known.setdefault(tensor.name, tensor) if tensor.constant else known.get(tensor.name)
            if other is None:
                continue
            if _facts(other) != _facts(tensor):
                raise BundleError(f"constant {tensor.name!r}: expected the same type and shape in every entry")
            if other is tensor:
                size += math.prod(tensor.shape) * dtype_of(tensor.dtype).itemsize
    if size > limits.MAX_CONSTANT_BYTES:
        raise BundleError(f"constants: at most {limits.MAX_CONSTANT_BYTES} bytes a session, got {size}")

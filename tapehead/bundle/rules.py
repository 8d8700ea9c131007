"""The rules that a manifest alone can break, before any other file is opened."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from tapehead.bundle import limits
from tapehead.bundle.errors import BundleError
from tapehead.bundle.files import check_path
from tapehead.bundle.ports import CHUNK, whole_state
from tapehead.bundle.question_rules import check_question_answering
from tapehead.bundle.sequence_rules import check_plain, check_sequence
from tapehead.bundle.tensors import dtype_of, to_array
from tapehead.v1.manifest_pb2 import Entry, EntryTensor, Manifest, ModelKind, StateTensor

FORMAT = 1
_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TENSOR_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")

# Entry -> (reads the state, writes the state).
_ENTRIES = {
    ModelKind.MODEL_KIND_SEQUENCE: {"step": (True, True), CHUNK: (True, True), "start": (False, True)},
    ModelKind.MODEL_KIND_QUESTION_ANSWERING: {"tell": (True, True), "ask": (True, False), "answer": (False, False)},
}


def check_manifest(manifest: Manifest) -> None:
    """Raises BundleError at the first rule that `manifest` breaks; looks at no other file."""
    if manifest.format != FORMAT:
        raise BundleError(f"format: expected {FORMAT}, got {manifest.format}")
    if not _MODEL_ID.fullmatch(manifest.model_id):
        raise BundleError(
            "model_id: expected 1 to 64 characters of A-Z a-z 0-9 . _ -, beginning with a letter or digit, got "
            f"{manifest.model_id!r}"
        )
    if manifest.version < 1:
        raise BundleError(f"version: expected 1 or more, got {manifest.version}")
    if manifest.kind not in _ENTRIES:
        raise BundleError("kind: expected MODEL_KIND_SEQUENCE or MODEL_KIND_QUESTION_ANSWERING")
    _check_files(manifest)
    _check_entries(manifest)
    if manifest.kind == ModelKind.MODEL_KIND_QUESTION_ANSWERING:
        check_plain(manifest)
        check_question_answering(manifest)
    else:
        check_sequence(manifest)
    _check_state(manifest)
    _check_probes(manifest)


def _check_files(manifest: Manifest) -> None:
    _check_count("files", len(manifest.files), limits.MAX_FILES)
    _check_unique("files", (file.path for file in manifest.files))
    for file in manifest.files:
        check_path(file.path)
    listed = {file.path for file in manifest.files}
    for entry in manifest.entries:
        if entry.file not in listed:
            raise BundleError(f"entry {entry.name!r}: file {entry.file!r} is not among the manifest's files")
    for tensor in manifest.state:
        if tensor.initial_file and tensor.initial_file not in listed:
            raise BundleError(f"state {tensor.name!r}: file {tensor.initial_file!r} is not among the manifest's files")


def _check_state(manifest: Manifest) -> None:
    _check_count("state", len(manifest.state), limits.MAX_TENSORS)
    state = whole_state(manifest)
    if not state and any(entry.reads_state for entry in manifest.entries):
        raise BundleError("state: the model keeps nothing between steps; expected at least one state tensor")
    _check_unique("state", (tensor.name for tensor in state))
    size = 0
    for tensor in state:
        where = f"state {tensor.name!r}"
        _check_tensor(where, tensor)
        _check_growth(where, tensor)
        size += math.prod(tensor.maximum or tensor.shape) * dtype_of(tensor.dtype).itemsize
    if size > limits.MAX_STATE_BYTES:
        raise BundleError(f"state: at most {limits.MAX_STATE_BYTES} bytes a session, got {size}")


def _check_growth(where: str, tensor: StateTensor) -> None:
    grows, shape, maximum = -1 in tensor.shape, list(tensor.shape), list(tensor.maximum)
    if not grows and not maximum:
        return
    if not grows:
        raise BundleError(f"{where}: a maximum is for axes of length -1, got shape {shape}")
    if len(maximum) != len(shape):
        raise BundleError(f"{where}: expected a maximum for each axis of {shape}, since one grows, got {maximum}")
    if any(most < 1 or (length not in (-1, most)) for length, most in zip(shape, maximum, strict=True)):
        raise BundleError(f"{where}: expected a maximum that is {shape} where the shape is fixed, got {maximum}")
    if tensor.initial_file:
        raise BundleError(f"{where}: an axis that grows begins with the length 0, so it has no initial_file")


def _check_entries(manifest: Manifest) -> None:
    kind = ModelKind.Name(manifest.kind)
    allowed = _ENTRIES[manifest.kind]
    _check_count("entries", len(manifest.entries), limits.MAX_ENTRIES)
    _check_unique("entries", (entry.name for entry in manifest.entries))
    for entry in manifest.entries:
        if entry.name not in allowed:
            raise BundleError(f"entry {entry.name!r}: {kind} has {', '.join(allowed)}")
        _check_entry(entry, *allowed[entry.name])
    names = {entry.name for entry in manifest.entries}
    if manifest.kind == ModelKind.MODEL_KIND_QUESTION_ANSWERING and names not in (
        {"answer"},
        {"tell", "ask"},
        {"tell", "ask", "answer"},
    ):
        raise BundleError(f"entries: {kind} needs 'answer', or 'tell' and 'ask', or all three; got {sorted(names)}")


def _check_entry(entry: Entry, reads: bool, writes: bool) -> None:
    where = f"entry {entry.name!r}"
    if (entry.reads_state, entry.writes_state) != (reads, writes):
        raise BundleError(
            f"{where}: expected reads_state {reads} and writes_state {writes}, "
            f"got {entry.reads_state} and {entry.writes_state}"
        )
    for role, tensors in (("input", entry.inputs), ("output", entry.outputs)):
        _check_count(f"{where} {role}s", len(tensors), limits.MAX_TENSORS)
        _check_unique(f"{where} {role}s", (tensor.name for tensor in tensors))
        for tensor in tensors:
            _check_tensor(f"{where} {role} {tensor.name!r}", tensor)
    if not (entry.outputs or entry.writes_state):
        raise BundleError(f"{where}: expected at least one output or the next state")
    if not entry.inputs and not (reads and writes):  # a step may go by the state alone
        raise BundleError(f"{where}: expected at least one input")


def _check_tensor(where: str, tensor: EntryTensor | StateTensor) -> None:
    if not _TENSOR_NAME.fullmatch(tensor.name):
        raise BundleError(f"{where}: expected a name of 1 to 128 characters of A-Z a-z 0-9 _ . : / -")
    try:
        dtype_of(tensor.dtype)
    except BundleError as error:
        raise BundleError(f"{where}: {error}") from None
    if len(tensor.shape) > limits.MAX_RANK:
        raise BundleError(f"{where}: at most {limits.MAX_RANK} axes, got {len(tensor.shape)}")
    if any(length < 1 and length != -1 for length in tensor.shape):
        raise BundleError(f"{where}: expected lengths of 1 or more (-1 for any), got {list(tensor.shape)}")
    if math.prod(abs(length) for length in tensor.shape) > limits.MAX_TENSOR_ELEMENTS:
        raise BundleError(f"{where}: at most {limits.MAX_TENSOR_ELEMENTS} elements, got shape {list(tensor.shape)}")
    if not -1 <= tensor.batch_axis <= len(tensor.shape):
        raise BundleError(f"{where}: expected a batch axis from -1 to {len(tensor.shape)}, got {tensor.batch_axis}")


def _check_probes(manifest: Manifest) -> None:
    entries = {entry.name for entry in manifest.entries}
    for number, probe in enumerate(manifest.probes, start=1):
        if not (math.isfinite(probe.tolerance) and probe.tolerance >= 0):
            raise BundleError(f"probe {number}: expected a finite tolerance of 0 or more, got {probe.tolerance}")
        for call in probe.calls:
            if call.entry not in entries:
                raise BundleError(f"probe {number}: entry {call.entry!r} is not one of {sorted(entries)}")
            for tensor in (*call.inputs, *call.outputs):
                to_array(tensor)
    unproved = entries - {call.entry for probe in manifest.probes for call in probe.calls if call.outputs}
    # `tell` and `start` may have no output of their own: a later `ask` or `step` of the same probe proves them.
    unproved -= {call.entry for probe in manifest.probes for call in probe.calls if call.entry in ("tell", "start")}
    if unproved:
        raise BundleError(f"probes: expected one that runs {sorted(unproved)}")


def _check_count(where: str, got: int, limit: int) -> None:
    if got > limit:
        raise BundleError(f"{where}: at most {limit}, got {got}")


def _check_unique(where: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BundleError(f"{where}: {name!r} is there twice")
        seen.add(name)

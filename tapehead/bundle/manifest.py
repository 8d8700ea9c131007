"""Reads and writes manifests, and answers what they say with their defaults applied."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
from google.protobuf import json_format

from tapehead.bundle.errors import BundleError
from tapehead.bundle.files import MANIFEST_NAME, check_files, read_file
from tapehead.bundle.limits import MAX_MANIFEST_BYTES
from tapehead.bundle.ports import CHUNK, whole_state
from tapehead.bundle.rules import check_manifest
from tapehead.bundle.tensors import dtype_of
from tapehead.v1.manifest_pb2 import Entry, Manifest, ModelKind, StateTensor


def read_manifest(folder: Path) -> Manifest:
    """Reads `folder`'s manifest and checks it and every file it lists; raises BundleError."""
    place = folder / MANIFEST_NAME
    try:
        size = place.stat().st_size
        if size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{place}: at most {MAX_MANIFEST_BYTES} bytes, got {size}")
        text = place.read_text(encoding="utf-8")
    except OSError as error:
        raise BundleError(f"{place}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BundleError(f"{place}: expected UTF-8: {error.reason} at byte {error.start}") from error
    try:
        manifest = json_format.Parse(text, Manifest())
    except json_format.ParseError as error:
        raise BundleError(f"{place}: not the JSON form of a manifest: {error}") from error
    try:
        check_manifest(manifest)
    except BundleError as error:
        raise BundleError(f"{place}: {error}") from error
    check_files(folder, manifest)
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes `folder/manifest.json`; whoever reads meanwhile sees the old one or the new one, never half."""
    text = json_format.MessageToJson(manifest, preserving_proto_field_name=True, indent=2, ensure_ascii=False)
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{MANIFEST_NAME}.{os.getpid()}"
    with draft.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / MANIFEST_NAME)


def find_entry(manifest: Manifest, name: str) -> Entry | None:
    return next((entry for entry in manifest.entries if entry.name == name), None)


def initial_state(folder: Path, manifest: Manifest) -> dict[str, np.ndarray]:
    """Returns every state tensor as a new session has it, without batch axis and read-only: its file or zeros.

    An axis that grows begins with the length 0.
    """
    state = {}
    for tensor in whole_state(manifest):
        dtype, shape = dtype_of(tensor.dtype), first_shape(tensor)
        if tensor.initial_file:
            data = read_file(folder, manifest, tensor.initial_file)
            expected = math.prod(shape) * dtype.itemsize
            if len(data) != expected:
                raise BundleError(
                    f"{folder / tensor.initial_file}: state {tensor.name!r} needs {expected} bytes, got {len(data)}"
                )
            array = np.frombuffer(data, dtype=dtype).reshape(shape)
        else:
            array = np.zeros(shape, dtype=dtype)
        array.flags.writeable = False
        state[tensor.name] = array
    return state


def first_shape(tensor: StateTensor) -> tuple[int, ...]:
    """Returns the shape with which a state tensor begins, without batch axis."""
    return tuple(max(0, length) for length in tensor.shape)


def with_both_entries(manifest: Manifest) -> Manifest:
    """Returns a sequence model's manifest in which a graph of several steps a call is both `step` and `chunk`.

    Such a graph is listed once, under either name; a single step is a chunk of one.
    """
    complete = Manifest()
    complete.CopyFrom(manifest)
    known = {entry.name: entry for entry in manifest.entries}
    given = known.get("step") or known.get(CHUNK)
    if manifest.kind != ModelKind.MODEL_KIND_SEQUENCE or given is None or {"step", CHUNK} <= known.keys():
        return complete
    carries = any(tensor.HasField("carry") for tensor in given.inputs)  # then no call takes more than one step
    if not carries and any(tensor.HasField("step_axis") for tensor in given.inputs):
        other = complete.entries.add()
        other.CopyFrom(given)
        other.name = CHUNK if given.name == "step" else "step"
    return complete

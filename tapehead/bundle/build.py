"""Writes a bundle: its files, the probes recorded by running it, and the manifest that ties them together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tapehead.bundle.errors import BundleError
from tapehead.bundle.files import check_path, describe_file
from tapehead.bundle.graph import check_graph
from tapehead.bundle.manifest import find_entry, first_shape, write_manifest
from tapehead.bundle.ports import whole_state
from tapehead.bundle.rules import check_manifest
from tapehead.bundle.tensors import dtype_of, to_tensor
from tapehead.bundle.verify import Arrays, Run, open_graphs, verify
from tapehead.v1.manifest_pb2 import Manifest, Probe, ProbeCall

ProbeCalls = Sequence[tuple[str, dict[str, np.ndarray]]]


def write_bundle(
    folder: Path,
    manifest: Manifest,
    files: Mapping[str, bytes],
    probe_calls: Sequence[ProbeCalls],
    tolerance: float,
) -> Manifest:
    """Writes the bundle of `manifest` to `folder` and verifies what was written; raises BundleError.

    Args:
        manifest: Everything but `files` and `probes`, which are filled in; it is not changed.
        files: Content by path within the bundle: graphs, initial states, the card, figures.
        probe_calls: For each probe its calls in order, (entry, inputs without batch axis); the state goes from each
            to the next, starting at the initial state. Every entry must be run by one of them.
        tolerance: The largest difference allowed when the probes are replayed, here or on another machine.

    Returns:
        The manifest as written.
    """
    complete = Manifest()
    complete.CopyFrom(manifest)
    del complete.files[:], complete.probes[:]
    complete.files.extend(describe_file(path, data) for path, data in sorted(files.items()))
    graphs = {entry.file: _take(files, entry.file) for entry in complete.entries}
    for file, data in graphs.items():
        check_graph(data, where=file, manifest=complete, file=file)
    run, initial = open_graphs(complete, graphs), first_state(complete, files)
    complete.probes.extend(_record(complete, run, initial, calls, tolerance) for calls in probe_calls)
    check_manifest(complete)

    for path, data in files.items():
        check_path(path)
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    write_manifest(folder, complete)
    verify(folder)
    return complete


def _record(manifest: Manifest, run: Run, initial: Arrays, calls: ProbeCalls, tolerance: float) -> Probe:
    probe, state = Probe(tolerance=tolerance), dict(initial)
    for name, inputs in calls:
        if find_entry(manifest, name) is None:
            raise BundleError(f"probe: the bundle has no entry {name!r}")
        outputs, next_state = run(name, inputs, state)
        state = state | next_state
        probe.calls.append(
            ProbeCall(
                entry=name,
                inputs=[to_tensor(tensor, array) for tensor, array in inputs.items()],
                outputs=[to_tensor(tensor, array) for tensor, array in outputs.items()],
            )
        )
    return probe


def first_state(manifest: Manifest, files: Mapping[str, bytes]) -> Arrays:
    """Returns the state of a new session, without batch axis, before its files are written; raises BundleError."""
    state = {}
    for tensor in whole_state(manifest):
        dtype, shape = dtype_of(tensor.dtype), first_shape(tensor)
        state[tensor.name] = np.zeros(shape, dtype)
        if tensor.initial_file:
            data = _take(files, tensor.initial_file)
            if len(data) != math.prod(shape) * dtype.itemsize:
                raise BundleError(
                    f"{tensor.initial_file}: state {tensor.name!r} is {dtype} {list(shape)}, got {len(data)} bytes"
                )
            state[tensor.name] = np.frombuffer(data, dtype).reshape(shape)
    return state


def _take(files: Mapping[str, bytes], path: str) -> bytes:
    try:
        return files[path]
    except KeyError:
        raise BundleError(f"{path!r} is named by the manifest but not among the files {sorted(files)}") from None

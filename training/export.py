"""Exports a trained network as a bundle: ONNX that onnxruntime runs like PyTorch, or nothing.

python -m training export runs/ntm-copy-seed1 --version 1
python -m training export models/ntm-copy/1 --replace       (its weights, as they are exported today)
"""

from __future__ import annotations

import inspect
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from tapehead.bundle import (
    BundleError,
    add_chunk,
    graph_name,
    read_manifest,
    state_input,
    state_output,
    takes_chunks,
    verify,
    write_bundle,
    write_manifest,
)
from tapehead.bundle.runtime import onnxruntime
from tapehead.v1.manifest_pb2 import Entry, Manifest, Provenance

from .checkpoint import find_weights
from .config import write_toml
from .errors import TrainingError
from .evaluate import load_trained
from .experiment import Array, Call, Graphs
from .refresh import KEPT, is_bundle, kept_as, kept_of, refresh
from .results import Result, curve_of, read_result
from .rewrites import simplify

LARGEST_DIFFERENCE = 1e-4  # between onnxruntime and PyTorch, over every output and state of every check
PROBE_TOLERANCE = 1e-4  # between this machine and whichever replays the probes


def export(
    run: Path, models: Path, version: int, beside: Sequence[Path] = (), *, note: str = "", replace: bool = False
) -> Path:
    """Writes the bundle of a finished run to models/<name>/<version> and returns that folder.

    `beside` are other runs of the same experiment (other seeds), reported in the card, with `note` below
    the results. `run` may be a bundle: its weights are exported as they are today, and its card tells of the same runs.
    A bundle that is there already is overwritten only if `replace` says so. Raises TrainingError, above all if
    onnxruntime and PyTorch disagree.
    """
    config, experiment = load_trained(run)
    folder = models / config.name / str(version)
    if folder.exists() and not replace:
        raise TrainingError(f"{folder}: is there already; expected a new version (or --replace)")
    results, remark = _told(run, beside)
    with torch.no_grad():
        graphs = experiment.graphs()
        files = {entry.file: to_onnx(graphs, entry).SerializeToString() for entry in graphs.manifest.entries}
        difference = compare(graphs, files)
    manifest = _manifest(graphs, config.name, version)
    manifest.provenance.CopyFrom(_provenance(results[0], experiment.network, difference))
    for tensor in manifest.state:
        value = np.ascontiguousarray(graphs.initial[tensor.name])
        if np.any(value):
            tensor.initial_file = f"initial.{tensor.name}.bin"
            files[tensor.initial_file] = value.astype(value.dtype.newbyteorder("<")).tobytes()
    files["config.toml"] = write_toml(config.table()).encode()
    files["weights.safetensors"] = find_weights(run).read_bytes()
    files[KEPT] = kept_as(results, note or remark)
    _put(folder, manifest, files, graphs)
    return folder


def _told(run: Path, beside: Sequence[Path]) -> tuple[list[Result], str]:
    """The results that a card tells of, the shipped run's first, and the remark below them."""
    others = [{**read_result(one), "curve": curve_of(one)} for one in beside]
    if is_bundle(run):
        kept, remark = kept_of(run)
        if not kept:
            raise TrainingError(f"{run}: expected a bundle that has kept its results, or a run")
        return [*kept, *others], remark
    return [{**read_result(run), "curve": curve_of(run)}, *others], ""


def node_counts(bundle: Path) -> dict[str, tuple[int, int]]:
    """The nodes of each graph file as it is written, and after onnxruntime's optimisation, loops counted as one."""
    counts = {}
    for file in dict.fromkeys(entry.file for entry in read_manifest(bundle).entries):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        with tempfile.TemporaryDirectory() as folder:
            options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
            onnxruntime.InferenceSession(str(bundle / file), options)
            optimised = onnx.load(options.optimized_model_filepath)
        counts[file] = len(onnx.load(bundle / file).graph.node), len(optimised.graph.node)
    return counts


def to_onnx(graphs: Graphs, entry: Entry) -> onnx.ModelProto:
    """Exports one entry's module with the manifest's names, any batch size and any length of the axes of length -1."""
    arrays = _example(graphs, entry)
    names = [*_input_names(graphs.manifest, entry), *_output_names(graphs.manifest, entry)]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            graphs.modules[entry.name].eval(),
            tuple(torch.from_numpy(array) for array in arrays),
            input_names=names[: len(arrays)],
            output_names=names[len(arrays) :],
            dynamic_shapes=_dynamic_axes(graphs, entry),
            opset_version=graphs.opset,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # None only where a file is written
    model = simplify(program.model_proto)
    model.ClearField("metadata_props")
    model.ClearField("doc_string")
    for graph in _with_inner(model.graph):
        parts: list[Any] = [graph, *graph.node, *graph.input, *graph.output, *graph.initializer]
        for part in parts:  # where in the source it came from: as large as the graph itself
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
        graph.ClearField("value_info")
    onnx.checker.check_model(model)
    return model


def _with_inner(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and those inside its nodes: what a loop repeats."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _with_inner(attribute.g)


def compare(graphs: Graphs, files: Mapping[str, bytes]) -> float:
    """Runs every probe and check in PyTorch and in onnxruntime, each with its own state; the largest difference.

    Raises TrainingError naming entry, tensor and call if it is above LARGEST_DIFFERENCE or not a number.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    sessions = {file: onnxruntime.InferenceSession(data, options) for file, data in files.items()}
    largest = 0.0
    for calls in (*_batched(graphs.probes), *_batched(graphs.checks)):
        rows = len(next(iter(calls[0][1].values())))
        ours = theirs = {name: np.repeat(value[None], rows, axis=0) for name, value in graphs.initial.items()}
        for number, (name, inputs) in enumerate(calls, start=1):
            entry = next(e for e in graphs.manifest.entries if e.name == name)
            names = _output_names(graphs.manifest, entry)
            expected = _run_torch(graphs, entry, inputs, ours)
            got = _run_onnx(sessions[entry.file], graphs.manifest, entry, inputs, theirs)
            for tensor, one, other in zip(names, expected, got, strict=True):
                difference = _distance(one, other)
                if not difference <= LARGEST_DIFFERENCE:
                    raise TrainingError(
                        f"entry {name!r}, call {number}, {tensor!r}: onnxruntime and PyTorch differ by "
                        f"{difference:.3g}; expected at most {LARGEST_DIFFERENCE:g}"
                    )
                largest = max(largest, difference)
            if entry.writes_state:
                count = len(entry.outputs)
                ours = dict(zip((t.name for t in graphs.manifest.state), expected[count:], strict=True))
                theirs = dict(zip((t.name for t in graphs.manifest.state), got[count:], strict=True))
    return largest


def _distance(one: Array, other: Array) -> float:
    if one.shape != other.shape:
        return float("inf")
    return float(np.max(np.abs(one.astype(np.float64) - other.astype(np.float64)), initial=0.0))


def _run_torch(graphs: Graphs, entry: Entry, inputs: Mapping[str, Array], state: Mapping[str, Array]) -> list[Array]:
    given = [inputs[tensor.name] for tensor in entry.inputs]
    if entry.reads_state:
        given += [state[tensor.name] for tensor in graphs.manifest.state]
    return [value.numpy() for value in graphs.modules[entry.name](*(torch.from_numpy(array) for array in given))]


def _run_onnx(
    session: Any, manifest: Manifest, entry: Entry, inputs: Mapping[str, Array], state: Mapping[str, Array]
) -> list[Array]:
    feed = {graph_name(tensor): inputs[tensor.name] for tensor in entry.inputs}
    if entry.reads_state:
        taken = {value.name for value in session.get_inputs()}
        feed |= {state_input(t): state[t.name] for t in manifest.state if state_input(t) in taken}
    values: list[Array] = session.run(_output_names(manifest, entry), feed)
    return values


def _batched(runs: Sequence[Sequence[Call]]) -> list[list[Call]]:
    """Each run as a batch of one, and all runs of the same shape as one batch."""
    alike: dict[Any, list[Sequence[Call]]] = {}
    for run in runs:
        shape = tuple((name, tuple((key, array.shape) for key, array in inputs.items())) for name, inputs in run)
        alike.setdefault(shape, []).append(run)
    groups = [[run] for run in runs] + [group for group in alike.values() if len(group) > 1]
    return [
        [
            (calls[0][0], {name: np.stack([inputs[name] for _, inputs in calls]) for name in calls[0][1]})
            for calls in zip(*group, strict=True)
        ]
        for group in groups
    ]


def _example(graphs: Graphs, entry: Entry) -> list[Array]:
    """Inputs of two rows (a batch of one would be taken for a constant): the entry's first call in a probe."""
    for name, inputs in (call for probe in graphs.probes for call in probe):
        if name == entry.name:
            given = [inputs[tensor.name] for tensor in entry.inputs]
            if entry.reads_state:
                given += [graphs.initial[tensor.name] for tensor in graphs.manifest.state]
            return [np.stack([array, array]) for array in given]
    raise TrainingError(f"entry {entry.name!r}: expected a probe that calls it")


def _input_names(manifest: Manifest, entry: Entry) -> list[str]:
    names = [graph_name(tensor) for tensor in entry.inputs]
    return names + [state_input(tensor) for tensor in manifest.state] if entry.reads_state else names


def _output_names(manifest: Manifest, entry: Entry) -> list[str]:
    names = [graph_name(tensor) for tensor in entry.outputs]
    return names + [state_output(tensor) for tensor in manifest.state] if entry.writes_state else names


def _dynamic_axes(graphs: Graphs, entry: Entry) -> tuple[Any, ...]:
    """Which axes are free, in the form of the module's arguments: a module may take its state as `*state`."""
    batch = torch.export.Dim("batch")
    axes: list[dict[int, Any]] = []
    for tensor in entry.inputs:
        free = {axis + 1: torch.export.Dim(f"{tensor.name}_{axis}") for axis, n in enumerate(tensor.shape) if n == -1}
        axes.append({0: batch, **free})
    state = tuple({0: batch} for _ in graphs.manifest.state) if entry.reads_state else ()
    parameters = inspect.signature(graphs.modules[entry.name].forward).parameters.values()
    starred = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    return (*axes, state) if starred else (*axes, *state)


def _manifest(graphs: Graphs, name: str, version: int) -> Manifest:
    manifest = Manifest()
    manifest.CopyFrom(graphs.manifest)
    manifest.format, manifest.model_id, manifest.version = 1, name, version
    return manifest


def _provenance(result: Mapping[str, Any], network: torch.nn.Module, difference: float) -> Provenance:
    return Provenance(
        task=result["name"],
        command=result.get("command", ""),
        revision=result.get("revision", ""),
        measured={name: f"{value:.4g}" for name, value in result["test"].items()},
        parameter_count=sum(parameter.numel() for parameter in network.parameters()),
        export_difference=difference,
    )


def _put(folder: Path, manifest: Manifest, files: Mapping[str, bytes], graphs: Graphs) -> None:
    """Writes the bundle beside its place and moves it there when it is complete and verified."""
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        written = write_bundle(draft, manifest, files, graphs.probes, PROBE_TOLERANCE)
        _thin_probes(draft, written)
        if takes_chunks(written):
            add_chunk(draft)
        refresh(draft)  # the card, which tells of all that is in the bundle
    except BundleError as error:
        raise TrainingError(f"{folder}: {error}") from None
    if folder.exists():
        shutil.rmtree(folder)
    draft.rename(folder)


def _thin_probes(folder: Path, manifest: Manifest) -> None:
    """Keeps what inspection outputs gave only in each probe's last call: a tape a step would be most of the bundle."""
    inspection = {tensor.name for entry in manifest.entries for tensor in entry.outputs if tensor.inspection}
    for probe in manifest.probes:
        for call in probe.calls[:-1]:
            kept = [tensor for tensor in call.outputs if tensor.name not in inspection]
            del call.outputs[:]
            call.outputs.extend(kept)
    write_manifest(folder, manifest)
    verify(folder)

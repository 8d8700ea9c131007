"""Makes a bundle of an ONNX file that anybody exported: what the file does not say is guessed or told, then tried."""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from tapehead.bundle.build import write_bundle
from tapehead.bundle.choices import Choices, choice
from tapehead.bundle.chunk import add_chunk, takes_chunks
from tapehead.bundle.errors import BundleError
from tapehead.bundle.forms import read_form
from tapehead.bundle.graph import check_content
from tapehead.bundle.guess import Doubt, guess
from tapehead.bundle.manifest import first_shape
from tapehead.bundle.ports import shape_in_graph, state_output
from tapehead.bundle.tensors import dtype_of
from tapehead.bundle.trial import try_manifest
from tapehead.v1.manifest_pb2 import Manifest, ModelKind

_FOREIGN = re.compile(r"[^a-z0-9]+")


class DoubtfulError(BundleError):
    """The graph leaves open what only people know; the message asks each question with the option that answers it."""

    def __init__(self, place: Path, doubts: tuple[Doubt, ...], said: str = "") -> None:
        """`said` are the options that were given already."""
        self.doubts = doubts
        command = f"tapehead bundle build {place} {said}"
        asked = [f"{doubt.sentence}\n    {command}{doubt.option} models/NAME/1" for doubt in doubts]
        super().__init__("\n".join((f"{place}: {len(doubts)} question(s) before it can be a bundle.", *asked)))


@dataclass(frozen=True, slots=True)
class Adopted:
    """A bundle that was written, or the draft of one."""

    manifest: Manifest
    notes: tuple[str, ...]
    doubts: tuple[Doubt, ...] = ()


def model_id_of(place: Path) -> str:
    """Returns the id that a model gets from the name of its file; raises BundleError if nothing is left of it."""
    model_id = _FOREIGN.sub("-", place.stem.lower()).strip("-")[:64].strip("-")
    if not model_id:
        raise BundleError(f"{place}: expected a file name with letters or digits, of which the model's id is made")
    return model_id


def load_whole(place: Path) -> onnx.ModelProto:
    """Reads an ONNX file, with weights that lie in files beside it put inside; raises BundleError."""
    try:
        model = onnx.load(place)
    except FileNotFoundError as error:
        raise BundleError(f"{error.filename or place}: there is no such file") from None
    except OSError as error:
        raise BundleError(f"{place}: cannot be read: {error.strerror or error}") from None
    except DecodeError as error:
        raise BundleError(f"{place}: not an ONNX file: {error}") from None
    except (onnx.checker.ValidationError, ValueError) as error:
        raise BundleError(f"{place}: its weights, which lie in other files, cannot be read: {error}") from None
    if not model.graph.node:
        raise BundleError(f"{place}: not an ONNX file: it has no graph")
    return model


def to_bytes(model: onnx.ModelProto, place: Path) -> bytes:
    """Returns the file of a model; the same model gives the same bytes."""
    try:
        return bytes(model.SerializeToString(deterministic=True))
    except (ValueError, DecodeError) as error:
        raise BundleError(f"{place}: with its weights inside it is larger than an ONNX file may be: {error}") from None


def revision_of(model: onnx.ModelProto, place: Path) -> str:
    """Returns what a bundle's provenance says of the file that it was made of, weights included."""
    return f"sha256:{hashlib.sha256(to_bytes(model, place)).hexdigest()}"


def inspect(place: Path, choices: Choices, values: Mapping[str, object]) -> Adopted:
    """Returns what `adopt` would write, without probes, and runs it where nothing is in doubt. Writes nothing."""
    model = load_whole(place)
    check_content(model, where=str(place), may_draw=True)
    guessed = guess(model, model_id_of(place), 1, choices)
    if guessed.doubts:
        return Adopted(guessed.manifest, guessed.notes, guessed.doubts)
    initials = _initials(guessed.manifest, choices)
    files = _files(guessed.manifest, model, place, initials)
    trial = try_manifest(guessed.manifest, files, _constants(guessed.manifest, values))
    return Adopted(guessed.manifest, (*trial.notes, *guessed.notes))


def adopt(
    place: Path,
    folder: Path,
    choices: Choices,
    values: Mapping[str, object],
    *,
    form: Path | None = None,
    chunks: bool = True,
) -> Adopted:
    """Writes the bundle `folder`, `.../MODEL_ID/VERSION`, of the ONNX file `place`; whoever looks sees all or nothing.

    Args:
        choices: What is known of the graph; nothing is guessed where `form` is given.
        values: What constants are tried with, by graph name; sample rates are tried by themselves.
        form: A manifest in TOML or JSON. Other graphs and initial states that it names lie beside the ONNX file.
        chunks: Whether to add a graph of many steps a call where that can be done.

    Raises BundleError; DoubtfulError where the graph leaves something open.
    """
    model_id, version = _identity(folder)
    if folder.exists():
        raise BundleError(f"{folder}: is there already; expected a new version, since sessions rely on the old one")
    model = load_whole(place)
    check_content(model, where=str(place), may_draw=True)
    notes: tuple[str, ...] = ()
    initials: dict[str, bytes] = {}
    if form is None:
        guessed = guess(model, model_id, version, choices)
        if guessed.doubts:
            raise DoubtfulError(place, guessed.doubts, choices.options(values))
        manifest, notes = guessed.manifest, guessed.notes
        initials = _initials(manifest, choices)
    else:
        manifest = read_form(form)
        manifest.model_id, manifest.version, manifest.format = model_id, version, 1
        manifest.kind = manifest.kind or ModelKind.MODEL_KIND_SEQUENCE
        if manifest.kind != ModelKind.MODEL_KIND_SEQUENCE:
            raise BundleError(f"{form}: expected MODEL_KIND_SEQUENCE; others need probes that only their maker knows")
    files = _files(manifest, model, place, initials)
    manifest.provenance.revision = manifest.provenance.revision or revision_of(model, place)
    trial = try_manifest(manifest, files, _constants(manifest, values))
    notes = (*trial.notes, *notes)
    if _declare_shapes(model, manifest):
        files = _files(manifest, model, place, initials)
    draft = folder.parent / f".{folder.name}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        written = write_bundle(draft, manifest, files, [trial.calls], trial.tolerance)
        if chunks and takes_chunks(written):
            try:
                written = add_chunk(draft)
            except (ValueError, onnx.checker.ValidationError) as error:
                notes = (*notes, f"It takes one step a call, since a loop over it was refused: {error}")
                shutil.rmtree(draft)
                written = write_bundle(draft, manifest, files, [trial.calls], trial.tolerance)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Adopted(written, notes)


def _identity(folder: Path) -> tuple[str, int]:
    absolute = folder.absolute()
    if not absolute.name.isdecimal() or int(absolute.name) < 1:
        raise BundleError(f"{folder}: expected .../MODEL_ID/VERSION, where the version is 1 or more")
    return absolute.parent.name, int(absolute.name)


def _declare_shapes(model: onnx.ModelProto, manifest: Manifest) -> bool:
    """Says how many axes an output has where the graph does not, which a loop over the graph needs; whether any was."""
    known = {t.graph_name or t.name: t for entry in manifest.entries for t in entry.outputs}
    states = {state_output(tensor): tensor for tensor in manifest.state}
    missing = [value for value in model.graph.output if not value.type.tensor_type.HasField("shape")]
    for value in missing:
        shape = shape_in_graph(states[value.name] if value.name in states else known[value.name])
        filled = onnx.helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, shape)
        value.CopyFrom(filled)
    return bool(missing)


def _files(manifest: Manifest, model: onnx.ModelProto, place: Path, initials: Mapping[str, bytes]) -> dict[str, bytes]:
    """The graphs and initial states that a manifest names: the model at hand, those given, and others beside it."""
    graphs = list(dict.fromkeys(entry.file for entry in manifest.entries))
    own = next((file for file in graphs if Path(file).name == place.name), None)
    if own is None:
        own = "model.onnx" if "model.onnx" in graphs or len(graphs) != 1 else graphs[0]
    files = {own: to_bytes(model, place), **initials}
    for file in graphs:
        if file not in files:
            other = place.parent / file
            files[file] = to_bytes(load_whole(other), other)
    for tensor in manifest.state:
        if tensor.initial_file and tensor.initial_file not in files:
            source = place.parent / tensor.initial_file
            try:
                files[tensor.initial_file] = source.read_bytes()
            except OSError as error:
                raise BundleError(f"{source}: the initial state {tensor.name!r}: {error.strerror}") from None
    return files


def _initials(manifest: Manifest, choices: Choices) -> dict[str, bytes]:
    """What states begin with, by the file within the bundle that the manifest then names."""
    files: dict[str, bytes] = {}
    for tensor in manifest.state:
        name = choice(choices.initials, tensor.graph_input or f"state.{tensor.name}")
        if name is None:
            continue
        try:
            array = np.load(name, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise BundleError(f"initial {tensor.name}={name}: not an array in NumPy's form: {error}") from None
        dtype, shape = dtype_of(tensor.dtype), first_shape(tensor)
        if array.dtype != dtype or array.size != math.prod(shape):
            raise BundleError(
                f"initial {tensor.name}={name}: expected {dtype} {list(shape)}, got {array.dtype} {list(array.shape)}"
            )
        tensor.initial_file = f"initial.{len(files)}.bin"
        files[tensor.initial_file] = array.astype(dtype.newbyteorder("<")).tobytes()
    return files


def _constants(manifest: Manifest, values: Mapping[str, object]) -> dict[str, np.ndarray]:
    """What was said of constants, by their names in the manifest and in their types."""
    known = {t.graph_name or t.name: t for entry in manifest.entries for t in entry.inputs if t.constant}
    arrays = {}
    for name, value in values.items():
        if name not in known:
            raise BundleError(f"constant {name}: expected one of {', '.join(known) or 'none'}")
        tensor = known[name]
        try:
            array = np.asarray(value).astype(dtype_of(tensor.dtype), casting="same_kind")
        except (TypeError, ValueError):
            raise BundleError(f"constant {name}: expected {dtype_of(tensor.dtype)}, got {value!r}") from None
        if array.ndim == 0:  # stands for every element
            array = np.full(tuple(tensor.shape), array)
        if array.shape != tuple(tensor.shape):
            raise BundleError(f"constant {name}: expected shape {list(tensor.shape)}, got {list(array.shape)}")
        arrays[tensor.name] = array
    return arrays

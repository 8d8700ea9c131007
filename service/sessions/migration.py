"""Whether a session of one version of a model can go on with another, and its state as that one keeps it.

It can where everything that a client or a state has to do with is the same: steps, questions, constants and states, by
name, type, shape and words. Weights are what may differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from tapehead.bundle import CHUNK, find_entry
from tapehead.v1.manifest_pb2 import EntryTensor, Manifest
from tapehead.v1.tensor_pb2 import DataType

from ..errors import ModelMismatch
from ..hosting.model import Model
from .live import state_layout


def check_compatible(session_id: str, old: Model, new: Model) -> None:
    """Raises ModelMismatch, naming the first tensor that differs, where a session cannot go on with `new`."""
    before, after = _facts(old), _facts(new)
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name, "none"), after.get(name, "none")
        if one != other:
            raise _mismatch(session_id, old, f"with {name}: {one}", new, f"with {name}: {other}")


def moved_state(session_id: str, state: bytes, old: Model, new: Model) -> bytes:
    """Returns a state of `old` as `new` keeps it, which may be in another order and with less room to grow.

    Raises StateCorrupt for one that is none, and ModelMismatch where it has outgrown the other's maximum.
    """
    arrays = dict(zip((tensor.name for tensor in old.state), state_layout(old).decode(state), strict=True))
    for tensor in new.state:
        too_long = tensor.too_long(arrays[tensor.name].shape)
        if too_long is not None:
            most, got = too_long
            raise _mismatch(
                session_id, old, f"with {got} entries in state '{tensor.name}'", new, f"which has room for {most}"
            )
    return state_layout(new).encode([arrays[tensor.name] for tensor in new.state])


def _mismatch(session_id: str, old: Model, has: str, new: Model, instead: str) -> ModelMismatch:
    one, other = (f"'{model.model_id}' version {model.version}" for model in (old, new))
    return ModelMismatch(session_id, f"{one}, {has}", f"{other}, {instead}")


def _facts(model: Model) -> dict[str, str]:
    """What must be the same, in words by name. Runs of many steps and outputs for inspection need not be."""
    manifest = model.manifest
    facts: dict[str, str] = {"kind": model.kind}
    for tensor in model.state:
        facts[f"state '{tensor.name}'"] = f"{tensor.dtype.name} {list(tensor.shape)}"
    for entry in manifest.entries:
        if entry.name != CHUNK:
            facts |= {f"entry '{entry.name}'": "there", **dict(_tensors(manifest, entry.name))}
    if manifest.HasField("question_answering"):
        facts["words and answers"] = _short(manifest.question_answering.SerializeToString(deterministic=True))
    return facts


def _tensors(manifest: Manifest, name: str) -> Iterator[tuple[str, str]]:
    entry = find_entry(manifest, name)
    assert entry is not None
    for tensor in entry.inputs:
        role = "constant" if tensor.constant else "input"
        yield f"{role} '{tensor.name}' of '{name}'", _text(tensor)
    for tensor in entry.outputs:
        if not tensor.inspection:
            yield f"output '{tensor.name}' of '{name}'", _text(tensor)


def _text(tensor: EntryTensor) -> str:
    dtype = DataType.Name(tensor.dtype).removeprefix("DATA_TYPE_").lower()
    words = f", {len(tensor.words)} words {_short(repr(list(tensor.words)).encode())}" if tensor.words else ""
    return f"{dtype} {list(tensor.shape)}{words}"


def _short(data: bytes) -> str:
    """Tells one list of words from another, where all of it would be too long for a message."""
    return hashlib.sha256(data).hexdigest()[:8]

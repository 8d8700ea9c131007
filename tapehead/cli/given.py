"""What a session is given once: NAME=FILE.npy or NAME=JSON, words among it, as `tapehead stream` takes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tapehead.tensors import Array
from tapehead.v1.manifest_pb2 import EntryTensor, Manifest

PADDING = ("", "<pad>", "<padding>")  # what word 0 is called where it stands for nothing


def given(pairs: Sequence[str], option: str, tensors: Iterable[EntryTensor]) -> dict[str, object]:
    """Reads `pairs` as values of the tensors; raises ValueError that names the option and the tensor.

    For integers that stand for words, a text may be given: its words are split at spaces.
    """
    known = {tensor.name: tensor for tensor in tensors}
    values: dict[str, object] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or name not in known:
            expected = ", ".join(f"{one}=VALUE" for one in known) or "none, since the model takes none"
            raise ValueError(f"{option} {pair}: expected {expected}")
        values[name] = _value(text, f"{option} {name}", known[name])
    return values


def start_inputs(manifest: Manifest) -> list[EntryTensor]:
    """What the entry `start` takes; nothing where there is none."""
    return [
        tensor for entry in manifest.entries if entry.name == "start" for tensor in entry.inputs if not tensor.constant
    ]


def constants(manifest: Manifest) -> list[EntryTensor]:
    """What a session is given once for all its steps."""
    return [tensor for entry in manifest.entries for tensor in entry.inputs if tensor.constant]


def output_words(manifest: Manifest | None) -> dict[str, Sequence[str]]:
    """The words that the step's outputs stand for, by output."""
    entries = manifest.entries if manifest is not None else []
    return {t.name: list(t.words) for entry in entries if entry.name == "step" for t in entry.outputs if t.words}


def in_words(values: Array, words: Sequence[str]) -> str:
    """Ids as words; an id without a word stays a number."""
    ids = np.ravel(values).tolist()
    return " ".join(words[one] if 0 <= one < len(words) else str(one) for one in ids)


def _value(text: str, where: str, tensor: EntryTensor) -> object:
    if text.endswith(".npy"):
        with Path(text).open("rb") as file:
            try:
                return np.lib.format.read_array(file, allow_pickle=False)
            except (ValueError, EOFError) as error:
                raise ValueError(f"{where}: {text} is no array of numbers: {error}") from None
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    if isinstance(value, str):
        if not tensor.words:
            raise ValueError(f"{where}: expected FILE.npy or JSON, got {text!r}")
        value = _padded(value.split(), tensor) if tensor.shape else value
    return _ids(value, where, {word: number for number, word in enumerate(tensor.words)})


def _padded(words: list[str], tensor: EntryTensor) -> list[str]:
    """A text shorter than its tensor ends in the word 0, where that stands for nothing."""
    missing = tensor.shape[0] - len(words) if len(tensor.shape) == 1 else 0
    return words + [tensor.words[0]] * missing if tensor.words[0] in PADDING else words


def _ids(value: object, where: str, numbers: Mapping[str, int]) -> object:
    if isinstance(value, list):
        return [_ids(one, where, numbers) for one in value]
    if not isinstance(value, str):
        return value
    if value not in numbers:
        raise ValueError(f"{where}: the model does not know the word {value!r}")
    return numbers[value]

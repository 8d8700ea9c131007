"""What the file of a session may hold: every length, type, shape and number is held against the model."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping

import numpy as np

from ..errors import InvalidField, MalformedMessage, StateCorrupt
from ..hosting.model import Model, TensorSpec
from ..store.base import Answer, Birth, Snapshot
from ..store.record import decode_tensors
from .answers import decode_answer
from .constants import Constants
from .creation import START, bounded_window
from .identity import MAX_TTL, MAX_WINDOW, MIN_TTL
from .live import state_layout
from .retention import MAX_KEPT

HASH_BYTES = 32  # of an input
MAX_STEP = 2**52  # that a file may be at: a store may count in doubles, and nobody steps a session that far
_FINGERPRINT = re.compile(r"([0-9a-f]{64})?")


def unbroken(answers: list[Answer], committed_step: int) -> tuple[Answer, ...]:
    """The latest of the answers, without a gap, up to the committed step."""
    following = committed_step + 1
    taken: list[Answer] = []
    for answer in reversed(answers):
        if answer.last_step + 1 != following:
            break
        taken.append(answer)
        following = answer.first_step
    return tuple(reversed(taken))


def check_snapshot(snapshot: Snapshot, model: Model) -> None:
    """Raises MalformedMessage, or InvalidField, for what no session of the model, as it is served here, can be."""
    birth = snapshot.birth
    steps = birth.origin_step <= snapshot.committed_step <= MAX_STEP
    numbers = 1 <= birth.window <= MAX_WINDOW, steps, birth.model_version >= 1
    if not all(numbers) or not MIN_TTL <= birth.ttl <= MAX_TTL:
        raise MalformedMessage("the numbers of the session in the file do not go together")
    if not _FINGERPRINT.fullmatch(snapshot.fingerprint):
        raise MalformedMessage("the fingerprint in the file is none: expected 64 hexadecimal digits, or nothing")
    if birth.window > (most := bounded_window(model, birth.window)):
        raise _other_model(model, f"one with the answers of {birth.window} steps kept, not of at most {most}")
    if birth.began != (START in model.entries):
        raise _other_model(model, "one that began otherwise")
    _check_constants(birth, model)
    _check_kept_steps(snapshot)
    _check_state(snapshot.state, model, snapshot.committed_step)
    for step, state in snapshot.kept_states.items():
        _check_state(state, model, step)
    _check_answers(snapshot, model)


def _check_constants(birth: Birth, model: Model) -> None:
    try:
        arrays = Constants.read(birth.constants).arrays
    except (StateCorrupt, RecursionError):
        raise MalformedMessage("the constants in the file cannot be read") from None
    if arrays.keys() != {tensor.name for tensor in model.constants}:
        raise _other_model(model, "one with other constants")
    for tensor in model.constants:
        _check_array(arrays[tensor.name], tensor, tensor.shape, model, "the constants")
        if tensor.strange_word(arrays[tensor.name]) is not None:
            raise MalformedMessage(f"the constants in the file hold the id of no word, in '{tensor.name}'")


def _check_kept_steps(snapshot: Snapshot) -> None:
    birth, steps = snapshot.birth, list(snapshot.kept_states)
    first = [birth.origin_step] * birth.keeps_origin + [0] * birth.began
    own = [step for step in steps if step not in first]
    if (
        any(not birth.origin_step <= step <= snapshot.committed_step for step in own)
        or (birth.keeps_origin and birth.origin_step not in steps)
        or len(own) > (birth.keep_most if birth.keep_every else 0)
        or birth.keep_most > MAX_KEPT
    ):
        raise MalformedMessage("the kept steps in the file are not those that its session can have")


def _check_state(state: bytes, model: Model, step: int) -> None:
    try:
        arrays = state_layout(model).decode(state)
    except StateCorrupt:
        raise _other_model(model, f"one with another state, after step {step}") from None
    except RecursionError:
        raise MalformedMessage(f"the state after step {step} in the file cannot be read") from None
    for array, tensor in zip(arrays, model.state, strict=True):
        too_long = tensor.too_long(array.shape) if tensor.grows else None
        if too_long is not None:
            raise _other_model(model, f"{too_long[1]} entries in '{tensor.name}', which has at most {too_long[0]}")
        _check_finite(array, tensor, f"the state after step {step}")
        if tensor.name == model.manifest.question_answering.length_state and (array < 0).any():
            raise MalformedMessage(f"the state after step {step} in the file counts fewer than no sentences")


def _check_answers(snapshot: Snapshot, model: Model) -> None:
    birth, answers = snapshot.birth, snapshot.answers
    if len(unbroken(list(answers), snapshot.committed_step)) != len(answers):
        raise MalformedMessage("the answers in the file do not follow each other up to its last step")
    outputs = {tensor.name: tensor for entry in model.entries.values() for tensor in entry.outputs}
    for position, answer in enumerate(answers):
        is_within = answer.first_step > birth.origin_step and answer.last_step > snapshot.committed_step - birth.window
        if not 1 <= answer.step_count <= birth.window or not is_within or len(answer.input_hash) != HASH_BYTES:
            raise MalformedMessage(f"answer {position + 1} in the file is not one that its session can have")
        _check_answer(answer, outputs, model)


def _check_answer(answer: Answer, outputs: Mapping[str, TensorSpec], model: Model) -> None:
    what = f"the answer of step {answer.first_step}"
    try:
        arrays = decode_tensors(answer.payload)[0]
        for name, array in arrays.items():
            if name not in outputs:
                raise _other_model(model, f"an output '{name}' in {what}")
            shape = (answer.step_count, *outputs[name].shape)
            _check_array(array, outputs[name], shape, model, what)
        decode_answer(answer, committed_step=answer.last_step).note.decode()  # a single step has a row, words are text
    except (StateCorrupt, ValueError, IndexError, RecursionError, struct.error):
        raise MalformedMessage(f"{what} in the file cannot be read") from None


def _check_array(array: np.ndarray, tensor: TensorSpec, shape: Iterable[int], model: Model, what: str) -> None:
    wanted = tuple(shape)
    fits = len(wanted) == array.ndim and all(want in (-1, got) for want, got in zip(wanted, array.shape, strict=True))
    if not fits or array.dtype != tensor.dtype:
        expected = f"{tensor.dtype.name}{list(wanted)}"
        got = f"{array.dtype.name}{list(array.shape)}"
        raise _other_model(model, f"{got} for '{tensor.name}', which is {expected}, in {what}")
    _check_finite(array, tensor, what)


def _check_finite(array: np.ndarray, tensor: TensorSpec, what: str) -> None:
    if tensor.reject_non_finite and array.dtype.kind == "f" and not np.isfinite(array).all():
        raise MalformedMessage(f"{what} in the file holds a number that is not finite, in '{tensor.name}'")


def _other_model(model: Model, got: str) -> InvalidField:
    return InvalidField("data", f"a session of '{model.model_id}' version {model.version} as it is served here", got)

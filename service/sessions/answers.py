"""Answers as the store keeps them: the outputs' exact bits, and how they were asked for."""

from __future__ import annotations

import struct

from ..store.base import Answer
from ..store.record import decode_tensors, encode_tensors
from .messages import Arrays, StepAnswer, StepMessage

_ASKED = struct.Struct("<B?")  # flags: 1 = without a time axis; whether lists were wanted
_WITHOUT_AXIS = 1


def encode_answer(message: StepMessage, outputs: Arrays) -> Answer:
    """The stored form of a message's outputs, each with a leading time axis."""
    note = _ASKED.pack(0 if message.step_count else _WITHOUT_AXIS, message.as_lists) + message.note
    return Answer(message.first_step, message.length, message.input_hash, encode_tensors(outputs, note))


def fresh_answer(message: StepMessage, outputs: Arrays, *, committed_step: int) -> StepAnswer:
    """The answer that has just been committed; equal to what `decode_answer` will give, but for `replayed`."""
    return StepAnswer(
        message.first_step,
        message.step_count,
        outputs if message.step_count else _without_axis(outputs),
        message.input_hash,
        committed_step,
        False,
        message.as_lists,
        message.note,
    )


def decode_answer(answer: Answer, *, committed_step: int) -> StepAnswer:
    """A stored answer, to be given again. Raises StateCorrupt."""
    outputs, note = decode_tensors(answer.payload)
    flags, as_lists = _ASKED.unpack_from(note)
    is_single = bool(flags & _WITHOUT_AXIS)
    return StepAnswer(
        first_step=answer.first_step,
        step_count=0 if is_single else answer.step_count,
        outputs=_without_axis(outputs) if is_single else outputs,
        input_hash=answer.input_hash,
        committed_step=committed_step,
        replayed=True,
        as_lists=as_lists,
        note=note[_ASKED.size :],
    )


def _without_axis(outputs: Arrays) -> Arrays:
    return {name: array[0] for name, array in outputs.items()}

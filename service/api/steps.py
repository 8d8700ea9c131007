"""Steps between the wire and the engine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tapehead.v1 import session_service_pb2 as pb

from ..errors import InvalidField, NotSupported, TooLong
from ..hosting.model import Model
from ..sessions.hashing import step_hash
from ..sessions.messages import StepAnswer, StepMessage
from .tensors import decode_inputs, encode_outputs, wanted_outputs, wants_lists

ENTRY = "step"
ANSWER_BYTES = 4_000_000  # what a client takes that has changed nothing: 4 MiB, less what is around the tensors


class StepCodec:
    """Reads steps of one model."""

    def __init__(self, model: Model, outputs: Sequence[str] = ()) -> None:
        """`outputs` are for the steps that name none. Raises NotSupported for a model without steps."""
        if model.kind != "sequence":
            raise NotSupported(f"the model '{model.model_id}' is told sentences and asked questions; it takes no steps")
        self._entry = model.entries[ENTRY]
        self._plain_outputs = model.default_outputs(ENTRY)
        self._asked = tuple(outputs)
        self._wanted = wanted_outputs(self._entry, self._asked, self._plain_outputs)
        self._step_bytes = self._bytes_of(self._wanted)

    def decode(self, step: pb.StepRequest | pb.StreamStep) -> StepMessage:
        """Returns the step as the engine takes it. Raises one of the InvalidInput errors."""
        first_step = step_number(step.step)
        acknowledged_step = step.acknowledged_step
        if acknowledged_step < 0:
            raise InvalidField("acknowledged_step", "0 or more", acknowledged_step)
        step_count = step.step_count
        arrays = decode_inputs(self._entry, step.inputs, step_count)
        asked, wanted, size = self._asked, self._wanted, self._step_bytes
        if step.outputs:
            asked = tuple(step.outputs)
            wanted = wanted_outputs(self._entry, asked, self._plain_outputs)
            size = self._bytes_of(wanted)
        if size * max(1, step_count) > ANSWER_BYTES:  # it would be committed, and then not reach its client
            what = "bytes of the answer: ask for fewer steps at once, or fewer outputs"
            raise TooLong(what, ANSWER_BYTES, size * max(1, step_count))
        return StepMessage(
            first_step,
            step_count,
            arrays if step_count else {name: array[np.newaxis] for name, array in arrays.items()},
            wanted,
            step_hash(step_count, arrays, asked),  # as it was sent, so that the client can compute it
            acknowledged_step,
            wants_lists(step.inputs),
            ENTRY,
        )

    def _bytes_of(self, wanted: tuple[str, ...]) -> int:
        """The least size of one step's answer."""
        return sum(output.least_bytes for output in self._entry.outputs if output.name in wanted)


def step_number(number: int) -> int:
    """Returns the number, or raises InvalidField for one that no step has."""
    if number < 1:
        raise InvalidField("step", "1 or more", number)
    return number


def fill_result(result: pb.StepResult, answer: StepAnswer) -> None:
    """Writes the answer into `result`."""
    result.step = answer.first_step
    result.step_count = answer.step_count
    result.input_hash = answer.input_hash
    result.committed_step = answer.committed_step
    result.replayed = answer.replayed
    encode_outputs(answer.outputs, answer.as_lists, result.outputs)

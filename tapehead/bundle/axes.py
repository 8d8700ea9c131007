"""Which axis of each tensor of a graph is the batch, by what the graph leaves open. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tapehead.bundle.pairing import Length, Value

_BATCH_NAMES = frozenset({"batch", "batch_size", "batchsize", "n", "b", "bs", "nbatch", "n_batch", "num_batch"})
_TIME_NAMES = frozenset(
    {"time", "t", "seq", "seq_len", "seqlen", "sequence", "sequence_length", "frames", "num_frames", "n_frames"}
    | {"length", "len", "steps", "time_steps", "timesteps", "num_steps"}
)


@dataclass(frozen=True, slots=True)
class Batch:
    """How a graph shows its batch axis: by a name, by an axis without one, or not at all."""

    name: str | None = None
    is_open: bool = False  # whether there is one at all

    def axis_of_input(self, value: Value) -> int:
        """Returns the batch axis of what is given with a step; -1 if there is none."""
        shape = value.shape or ()
        if self.name is not None and self.name in shape:
            return shape.index(self.name)
        return 0 if self.is_open and shape and shape[0] is None else -1

    def axis_of_state(self, value: Value) -> int:
        """Returns the batch axis of a state; it may be any, so an open one without a name will do."""
        shape = value.shape or ()
        if self.name is not None and self.name in shape:
            return shape.index(self.name)
        return shape.index(None) if self.is_open and None in shape else -1

    def axis_of_output(self, value: Value) -> int:
        """Returns the batch axis of an output, whose axes exporters often name anew, or leave out."""
        if not self.is_open:
            return -1
        if value.shape is None:
            return 0
        if self.name is not None and self.name in value.shape:
            return value.shape.index(self.name)
        opened = [axis for axis, length in enumerate(value.shape) if not isinstance(length, int)]
        return opened[0] if opened else -1


def find_batch(inputs: Sequence[Value], states: Sequence[Value]) -> Batch:
    """Finds how the batch shows: a name that says so, else the name common to most tensors, else an open first axis.

    A name that only states have is that of an axis that grows, not of the batch. Where states leave no axis open there
    is no batch: what inputs leave open is a number of steps, or the length of one.
    """
    shapes = [value.shape for value in inputs if value.shape]
    if any(value.shape for value in states) and not any(_is_open(value) for value in states):
        return Batch()
    counts: Counter[str] = Counter()
    for value in (*inputs, *states):
        counts.update({length for length in value.shape or () if isinstance(length, str)})
    of_inputs = {length for shape in shapes for length in shape if isinstance(length, str)} if shapes else set(counts)
    candidates = [name for name in counts if name in of_inputs]
    told = [name for name in candidates if name.lower() in _BATCH_NAMES]
    first = {shape[0] for shape in shapes}
    others = [name for name in candidates if not is_time(name) and (counts[name] > 1 or name in first)]
    if told or others:
        best = max(told or others, key=lambda name: (counts[name], name in first))
        return Batch(best, is_open=True)
    return Batch(is_open=any(shape[0] is None for shape in shapes))


def is_time(name: str) -> bool:
    """Whether an axis is called as axes of steps are."""
    return name.lower() in _TIME_NAMES


def shared_times(inputs: Sequence[Value], outputs: Sequence[Value], batch: Batch) -> list[tuple[Value, int, Value]]:
    """Returns each input with its axis that may be one of steps, and the first output that has it too.

    Such an axis is named as those of time are; in a graph without a batch any open one may be, and since exporters name
    the axes of outputs anew, any axis of an output that has no name of the inputs' may be the same.
    """
    of_inputs = {length for value in inputs for length in value.shape or ()}
    found = []
    for value in inputs:
        for axis, length in enumerate(value.shape or ()):
            if isinstance(length, int) or (length is not None and length == batch.name):
                continue
            if not batch.is_open:
                other = first_with(length, outputs) or _first_open(outputs, of_inputs)
            else:
                other = first_with(length, outputs) if length is not None and is_time(length) else None
            if other is not None:
                found.append((value, axis, other))
    return found


def first_with(length: Length, values: Collection[Value]) -> Value | None:
    """Returns the first value that has an axis of that name."""
    return next((value for value in values if length in (value.shape or ())), None)


def _first_open(values: Collection[Value], known: Collection[Length]) -> Value | None:
    """The first value with an axis that is open and has none of the names known."""
    return next((value for value in values if _is_open(value, known)), None)


def _is_open(value: Value, known: Collection[Length] = ()) -> bool:
    return value.shape is None or any(not isinstance(one, int) and one not in known for one in value.shape)

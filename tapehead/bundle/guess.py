"""The manifest that a graph suggests by the names, types and shapes of its inputs and outputs. Pure: nothing is run.

What the graph does not say is a doubt, with the choice that settles it; a manifest with doubts is not to be used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx

from tapehead.bundle.axes import Batch, find_batch, first_with, shared_times
from tapehead.bundle.choices import Choices, choice, is_told, matches
from tapehead.bundle.errors import BundleError
from tapehead.bundle.interface import statelessness
from tapehead.bundle.pairing import Length, Pairing, Value, pair_states
from tapehead.bundle.ports import CHUNK
from tapehead.bundle.tensors import datatype_of, dtype_of
from tapehead.v1.manifest_pb2 import Carry, Entry, EntryTensor, Manifest, ModelKind, StateTensor

GRAPH_FILE = "model.onnx"
_RATES = frozenset({"sr", "rate", "sample_rate", "sampling_rate", "samplerate"})
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.:/-]")
CARRY_NOTE = (
    "Programs that run such a model may put the end of the previous input in front of each one. The graph does not "
    "show it, and without it the answers are wrong: if yours does so, build the bundle with --carry INPUT=LENGTH."
)


@dataclass(frozen=True, slots=True)
class Doubt:
    """What the graph leaves open, and what to write about it."""

    sentence: str
    option: str


@dataclass(frozen=True, slots=True)
class Guess:
    """A manifest without files and probes, and what is to be known of it."""

    manifest: Manifest
    doubts: tuple[Doubt, ...] = ()
    notes: tuple[str, ...] = ()


def guess(model: onnx.ModelProto, model_id: str, version: int, choices: Choices) -> Guess:
    """Returns the manifest of a graph of one step, or of any number of steps.

    Raises BundleError where it keeps no state, or where a choice does not fit the graph.
    """
    inputs, outputs = read_values(model)
    choices.check([value.name for value in inputs], [value.name for value in outputs])
    pairing = pair_states(inputs, outputs, choices.states, _every(choices.not_states, inputs))
    states = [value for value in inputs if value.name in pairing.sure]
    given = [value for value in inputs if value.name not in pairing.sure]
    if not pairing.sure and not pairing.possible and not choices.carries:
        raise BundleError(_stateless(model, pairing))
    results = [value for value in outputs if value.name not in pairing.sure.values()]
    constants = {value.name for value in given if _is_constant(value, choices)}
    stepped = [value for value in given if value.name not in constants]
    batch = find_batch(stepped, states)
    steps = _step_axes(stepped, results, choices)
    entry = Entry(
        name=_entry_name(steps, choices),
        file=GRAPH_FILE,
        inputs=[_input(value, batch, choices, steps, constants) for value in given],
        outputs=[_output(value, batch, choices, steps) for value in results],
        reads_state=True,
        writes_state=True,
    )
    state = [_state(value, pairing.sure[value.name], batch, choices) for value in states]
    doubts = [
        *_pairing_doubts(inputs, outputs, pairing),
        *_scalar_doubts(stepped, choices),
        *_time_doubts(stepped, results, batch, choices),
        *_stepless_doubts(stepped, steps),
        *_growth_doubts(state),
    ]
    manifest = Manifest(
        format=1,
        model_id=model_id,
        version=version,
        kind=ModelKind.MODEL_KIND_SEQUENCE,
        entries=[entry],
        state=state,
    )
    notes = [] if choices.carries else [CARRY_NOTE]
    return Guess(manifest, tuple(doubts), tuple(notes))


def read_values(model: onnx.ModelProto) -> tuple[list[Value], list[Value]]:
    """Returns the inputs and outputs of a graph; raises BundleError at one that is no tensor of a known type."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [_value(one, "input") for one in model.graph.input if one.name not in weights]
    return inputs, [_value(one, "output") for one in model.graph.output]


def _value(info: onnx.ValueInfoProto, role: str) -> Value:
    if info.type.WhichOneof("value") != "tensor_type":
        raise BundleError(f"{role} {info.name!r}: expected a plain tensor, got {info.type.WhichOneof('value')}")
    tensor = info.type.tensor_type
    try:
        dtype = datatype_of(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except (KeyError, BundleError) as error:
        raise BundleError(f"{role} {info.name!r}: {error}") from None
    if not tensor.HasField("shape"):
        return Value(info.name, dtype, None)
    return Value(info.name, dtype, tuple(_length(one) for one in tensor.shape.dim))


def _length(dim: onnx.TensorShapeProto.Dimension) -> Length:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None


def _stateless(model: onnx.ModelProto, pairing: Pairing) -> str:
    considered = "; ".join(pairing.considered)
    looked = f"considered were {considered}" if considered else "no input has the type and shape of an output"
    return (
        f"no state was found: {statelessness(model.graph)}. By names, types and shapes, {looked}. Export the model "
        "with its state as inputs and outputs, or name them with --state INPUT=OUTPUT"
    )


# --- tensors ----------------------------------------------------------------------------------------------------------


def _input(value: Value, batch: Batch, choices: Choices, steps: Mapping[str, int], constants: set[str]) -> EntryTensor:
    tensor = EntryTensor(name=_public(value.name), dtype=value.dtype)
    if value.shape is None:
        raise BundleError(f"input {value.name!r}: expected the graph to say how many axes it has")
    if value.name in constants:
        tensor.constant = True
        _place(tensor, value, batch.axis_of_input(value), choices, {})
        tensor.constant_batched = tensor.batch_axis >= 0
        tensor.batch_axis = max(tensor.batch_axis, 0)
    else:
        _place(tensor, value, batch.axis_of_input(value), choices, steps)
        if (length := choice(choices.lengths, value.name)) is not None:
            tensor.shape[:] = [length if one == -1 else one for one in tensor.shape]
        if (last := choice(choices.carries, value.name)) is not None:
            _carry(tensor, last)
    return _named(tensor, value.name)


def _output(value: Value, batch: Batch, choices: Choices, steps: Mapping[str, int]) -> EntryTensor:
    tensor = EntryTensor(name=_public(value.name), dtype=value.dtype)
    _place(tensor, value, batch.axis_of_output(value), choices, steps)
    return _named(tensor, value.name)


def _state(value: Value, output: str, batch: Batch, choices: Choices) -> StateTensor:
    if value.shape is None:
        raise BundleError(f"state input {value.name!r}: expected the graph to say how many axes it has")
    name = _public(value.name.removeprefix("state.")) or _public(value.name)
    tensor = StateTensor(name=name, dtype=value.dtype)
    _place(tensor, value, batch.axis_of_state(value), choices, {})
    if value.name != f"state.{name}":
        tensor.graph_input = value.name
    if output != f"next_state.{name}":
        tensor.graph_output = output
    maximum = choice(choices.maxima, value.name)
    if maximum is not None and -1 in tensor.shape:
        tensor.maximum.extend(maximum if length == -1 else length for length in tensor.shape)
    return tensor


def _place(
    tensor: EntryTensor | StateTensor, value: Value, seen: int, choices: Choices, steps: Mapping[str, int]
) -> None:
    """Says where the axes of a tensor lie; `seen` is where the graph shows the batch."""
    told = choice(choices.batch_axes, value.name)
    tensor.batch_axis = seen if told is None else told
    step_axis = steps.get(value.name)
    if step_axis is not None and isinstance(tensor, EntryTensor):
        tensor.step_axis = step_axis
    if value.shape is not None:
        if not -1 <= tensor.batch_axis < len(value.shape):
            raise BundleError(f"batch axis {value.name}={told}: expected -1 to {len(value.shape) - 1}")
        tensor.shape.extend(_lengths(value, tensor.batch_axis, seen, step_axis))


def _lengths(value: Value, batch_axis: int, seen: int, step_axis: int | None) -> Iterator[int]:
    """The shape without batch and steps; what would be the batch, had nobody said that there is none, is 1."""
    for axis, length in enumerate(value.shape or ()):
        if axis in (batch_axis, step_axis):
            continue
        if isinstance(length, int):
            yield length
        else:
            yield 1 if batch_axis < 0 and axis == seen else -1


def _carry(tensor: EntryTensor, last: int) -> None:
    """Carries along the axis of any length if there is one, else along the last; the graph counts what is carried."""
    if not tensor.shape:
        raise BundleError(f"carry {tensor.name}={last}: a scalar has no end")
    shape = list(tensor.shape)
    axis = shape.index(-1) if -1 in shape else len(shape) - 1
    tensor.carry.CopyFrom(Carry(last=last, axis=axis))
    if shape[axis] != -1:
        if shape[axis] <= last:
            raise BundleError(f"carry {tensor.name}={last}: expected less than the {shape[axis]} that the graph takes")
        tensor.shape[axis] = shape[axis] - last


def _named(tensor: EntryTensor, graph: str) -> EntryTensor:
    if tensor.name != graph:
        tensor.graph_name = graph
    return tensor


def _public(name: str) -> str:
    """A name that a manifest may have."""
    return _NOT_IN_NAMES.sub("_", name)[:128]


# --- doubts -----------------------------------------------------------------------------------------------------------


def _pairing_doubts(inputs: Sequence[Value], outputs: Sequence[Value], pairing: Pairing) -> Iterator[Doubt]:
    before, after = {value.name: value for value in inputs}, {value.name: value for value in outputs}
    for name, others in pairing.possible.items():
        alike = [one for one, those in pairing.possible.items() if those == others]
        likely = others[-len(alike) :][alike.index(name) % len(others)]  # results come first, then states in order
        yield Doubt(
            f"Input {before[name]} may be a state that output {_either([str(after[other]) for other in others])} gives "
            f"anew: they have the same type and shape, and no names that say so. If it is none, write "
            f"--not-state {name}.",
            f"--state {name}={likely}",
        )


def _scalar_doubts(inputs: Sequence[Value], choices: Choices) -> Iterator[Doubt]:
    for value in inputs:
        if value.shape == () and choice(choices.batch_axes, value.name) is None:
            yield Doubt(
                f"Input {value} is one number for a whole batch. Is it given once a session, or with every step "
                f"(--batch-axis {value.name}=-1, which means batches of one)? VALUE is what it is tried with.",
                f"--constant {value.name}=VALUE",
            )


def _time_doubts(inputs: Sequence[Value], outputs: Sequence[Value], batch: Batch, choices: Choices) -> Iterator[Doubt]:
    shared = shared_times(inputs, outputs, batch)
    answered = {(value.shape or ())[axis] for value, axis, _ in shared if is_told(choices.step_axes, value.name)}
    for value, axis, other in shared:
        name = (value.shape or ())[axis]
        if not is_told(choices.step_axes, value.name) and (name is None or name not in answered):
            answered.add(name)  # one question for all axes of a name
            yield Doubt(
                f"Axis {axis} of input {value} is in output {other} too. Are these steps, any number of them a call, "
                f"or do they make one step together (--step-axis {value.name}=none)?",
                f"--step-axis {value.name}={axis}",
            )


def _stepless_doubts(inputs: Sequence[Value], steps: Mapping[str, int]) -> Iterator[Doubt]:
    for value in inputs if steps else ():
        if value.name not in steps:
            yield Doubt(
                f"Input {value} has no axis of steps, as others have: is it given once a session? VALUE is what it is "
                f"tried with; a single number stands for all of its elements. If it has such an axis, write "
                f"--step-axis {value.name}=AXIS; if there are none at all, --step-axis '*=none'.",
                f"--constant {value.name}=VALUE",
            )


def _growth_doubts(state: Sequence[StateTensor]) -> Iterator[Doubt]:
    growing = [tensor for tensor in state if -1 in tensor.shape and not tensor.maximum]
    if growing:
        names = [tensor.graph_input or f"state.{tensor.name}" for tensor in growing]
        which = names[0] if len(names) == 1 else "'*'"
        has = "has an axis" if len(names) == 1 else "have axes"
        yield Doubt(
            f"State {_either(names, 'and')} {has} that the graph leaves open, beside the batch: such a state begins "
            "with the length 0 and gets longer. How long may it be? (Or is it the batch? Then --batch-axis NAME=AXIS.)",
            f"--maximum {which}=LENGTH",
        )


# --- choices ----------------------------------------------------------------------------------------------------------


def _step_axes(inputs: Sequence[Value], outputs: Sequence[Value], choices: Choices) -> dict[str, int]:
    """Where each tensor has its steps: as was said, or an axis of the same name as one that was said."""
    told = {value.name: choice(choices.step_axes, value.name) for value in (*inputs, *outputs)}
    axes = {name: axis for name, axis in told.items() if axis is not None}
    by_name = {value.name: value for value in (*inputs, *outputs)}
    names = set()
    for name, axis in axes.items():
        shape = by_name[name].shape
        if shape is not None and not 0 <= axis < len(shape):
            raise BundleError(f"step axis {name}={axis}: expected 0 to {len(shape) - 1}")
        if shape is not None and isinstance(length := shape[axis], str):
            names.add(length)
    for value in by_name.values() if axes else ():
        for name in names:
            if value.name not in axes and first_with(name, [value]):
                axes[value.name] = _axis_called(name, value.shape or (), next(iter(axes.values())))
        if value.name not in axes and not is_told(choices.step_axes, value.name):
            one = next(iter(axes.values()))
            if value.shape is None or (len(value.shape) > one and not isinstance(value.shape[one], int)):
                axes[value.name] = one  # exporters name the axes of outputs anew
    return axes


def _entry_name(steps: Mapping[str, int], choices: Choices) -> str:
    """A call takes one step where the end of one goes in front of the next, which no graph of many steps does."""
    carries = any(choice(choices.carries, name) is not None for name in steps)
    return CHUNK if steps and not carries else "step"


def _axis_called(name: str, shape: Sequence[Length], usual: int) -> int:
    """The axis of that name; of several, as some exporters write for outputs, the usual one."""
    return usual if usual < len(shape) and shape[usual] == name else shape.index(name)


def _is_constant(value: Value, choices: Choices) -> bool:
    if matches(choices.constants, value.name):
        return True
    is_single = value.shape in ((), (1,)) and dtype_of(value.dtype).kind in "iu"
    return is_single and value.name.lower() in _RATES


def _every(patterns: frozenset[str], values: Sequence[Value]) -> frozenset[str]:
    return frozenset(value.name for value in values if matches(patterns, value.name))


def _either(names: Sequence[str], word: str = "or") -> str:
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), names[-1])))

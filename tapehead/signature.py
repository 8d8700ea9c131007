"""What a model's step takes, so that callers may give plain arrays and lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tapehead.errors import NotSupported, TensorMismatch
from tapehead.tensors import Array, cast, dtype_name
from tapehead.v1.manifest_pb2 import EntryTensor, Manifest


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs of a model's step: element types by name."""

    model_id: str
    dtypes: Mapping[str, str]
    constants: Mapping[str, str] = field(default_factory=dict)  # given once, when a session is created
    start: Mapping[str, str] = field(default_factory=dict)  # given to the entry that a session begins with

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> Signature:
        """Raises NotSupported for a model that is not stepped."""
        entries = {entry.name: entry for entry in manifest.entries}
        if "step" in entries:
            start = entries["start"].inputs if "start" in entries else ()
            constants = [tensor for entry in manifest.entries for tensor in entry.inputs if tensor.constant]
            return cls(
                manifest.model_id,
                _dtypes(tensor for tensor in entries["step"].inputs if not tensor.constant),
                _dtypes(constants),
                _dtypes(tensor for tensor in start if not tensor.constant),
            )
        raise NotSupported(f"the model '{manifest.model_id}' is not stepped; it takes stories and questions")

    def arrays(self, inputs: object) -> dict[str, Array]:
        """Arrays by input name, from a mapping or, where there is one input, from anything that numpy takes."""
        if inputs is None and not self.dtypes:
            return {}
        if not isinstance(inputs, Mapping):
            if not self.dtypes:
                raise TensorMismatch(f"model '{self.model_id}' takes no inputs: its steps go by its state alone")
            if len(self.dtypes) != 1:
                raise TensorMismatch(
                    f"model '{self.model_id}' takes several inputs: expected a dict with {', '.join(self.dtypes)}"
                )
            inputs = {next(iter(self.dtypes)): inputs}
        if inputs.keys() != self.dtypes.keys():
            expected, got = ", ".join(self.dtypes), ", ".join(map(str, inputs)) or "nothing"
            raise TensorMismatch(f"model '{self.model_id}' takes the inputs {expected}; got {got}")
        return {name: cast(name, inputs[name], dtype) for name, dtype in self.dtypes.items()}


def _dtypes(tensors: Iterable[EntryTensor]) -> dict[str, str]:
    return {tensor.name: dtype_name(tensor.dtype) for tensor in tensors}


def length(arrays: Mapping[str, Array]) -> int:
    """How many steps a chunk holds: the length of every array's leading axis."""
    lengths = {name: array.shape[0] if array.ndim else 0 for name, array in arrays.items()}
    distinct = set(lengths.values())
    if len(distinct) != 1 or distinct == {0}:
        got = ", ".join(f"{name}: {count}" for name, count in lengths.items())
        raise TensorMismatch(f"a chunk needs a leading axis of one length, at least 1, for every input; got {got}")
    return distinct.pop()

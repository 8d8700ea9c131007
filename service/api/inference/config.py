"""What a model takes and gives, in the words of the Open Inference Protocol and of Triton's configuration.

A sequence has `max_batch_size` 1: its tensors have a batch axis in front, of which a configuration does not speak. A
model that answers questions has none.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...hosting.model import Model, TensorSpec
from .codec import datatype_name
from .infer import start_inputs_of
from .messages import config_pb, pb

PLATFORM = "onnxruntime_onnx"
BACKEND = "onnxruntime"

Described = tuple[str, str, tuple[int, ...]]  # name, type, shape without batch axis; -1 is any length

_QUESTION_INPUTS: tuple[Described, ...] = (("story", "BYTES", (-1,)), ("question", "BYTES", (1,)))
_QUESTION_OUTPUTS: tuple[Described, ...] = (
    ("answer", "BYTES", (1,)),
    ("probability", "FP32", (1,)),
    ("attention", "FP32", (-1, -1)),
)


def metadata(model: Model, versions: Iterable[int]) -> pb.ModelMetadataResponse:
    """Returns what ModelMetadata tells; `versions` are all that are served."""
    inputs, once, outputs = _described(model)
    batch = (-1,) if model.kind == "sequence" else ()
    response = pb.ModelMetadataResponse(name=model.model_id, platform=PLATFORM, versions=map(str, versions))
    for tensors, place in (((*inputs, *once), response.inputs), (outputs, response.outputs)):
        for name, datatype, shape in tensors:
            place.add(name=name, datatype=datatype, shape=(*batch, *(shape or (1,))))
    return response


def configuration(model: Model, ttl: float) -> config_pb.ModelConfig:
    """Returns what ModelConfig tells; `ttl` is how long an unused sequence lives, in seconds."""
    inputs, once, outputs = _described(model)
    config = config_pb.ModelConfig(name=model.model_id, platform=PLATFORM, backend=BACKEND)
    for name, datatype, shape in (*inputs, *once):
        place = config.input.add(name=name, data_type=_config_type(datatype), optional=(name, datatype, shape) in once)
        _fill_dims(place, shape)
    for name, datatype, shape in outputs:
        _fill_dims(config.output.add(name=name, data_type=_config_type(datatype)), shape)
    config.model_transaction_policy.decoupled = False
    if model.kind == "sequence":
        config.max_batch_size = 1
        config.sequence_batching.max_sequence_idle_microseconds = int(ttl * 1e6)
        config.sequence_batching.direct.SetInParent()
        inspection = [output.name for output in model.entries["step"].outputs if output.inspection]
        if inspection:
            config.parameters["inspection_outputs"].string_value = ",".join(inspection)
    return config


def _described(model: Model) -> tuple[tuple[Described, ...], tuple[Described, ...], tuple[Described, ...]]:
    """The inputs of every request, those of a START alone, and the outputs that come unasked."""
    if model.kind != "sequence":
        return _QUESTION_INPUTS, (), _QUESTION_OUTPUTS
    step = model.entries["step"]
    plain = [output for output in step.outputs if not output.inspection]
    return _tensors(step.inputs), _tensors((*start_inputs_of(model), *model.constants)), _tensors(plain)


def _tensors(specs: Iterable[TensorSpec]) -> tuple[Described, ...]:
    return tuple((spec.name, datatype_name(spec.dtype), spec.shape) for spec in specs)


def _fill_dims(place: config_pb.ModelInput | config_pb.ModelOutput, shape: tuple[int, ...]) -> None:
    place.dims.extend(shape or (1,))
    if not shape:
        place.reshape.SetInParent()  # a single number, which has no axis


def _config_type(datatype: str) -> config_pb.DataType:
    name = "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
    number: config_pb.DataType = getattr(config_pb, name)
    return number

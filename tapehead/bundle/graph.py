"""What may be in an ONNX file: checked on the parsed message, before any runtime sees it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError, Message

from tapehead.bundle import interface
from tapehead.bundle.errors import BundleError
from tapehead.bundle.limits import MAX_FILE_BYTES, MAX_GRAPH_DEPTH, MAX_TENSOR_ELEMENTS
from tapehead.v1.manifest_pb2 import Manifest

ALLOWED_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})

# The runtime's own operators are not the standard's, and some of them read files or draw random numbers. Those that its
# quantiser and its optimiser write into files are functions of their inputs like any other.
RUNTIME_DOMAIN = "com.microsoft"
RUNTIME_OPERATORS = frozenset(
    {"DequantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulNBits"}
    | {"QAttention", "QGemm", "QLinearAdd", "QLinearAveragePool", "QLinearConcat", "QLinearConv", "QLinearLeakyRelu"}
    | {"QLinearMul", "QLinearSigmoid", "QLinearSoftmax", "QuantizeLinear", "BiasGelu", "FastGelu", "FusedConv"}
    | {"FusedGemm", "FusedMatMul", "Gelu", "QuickGelu", "SkipLayerNormalization", "Attention", "MultiHeadAttention"}
)
# They choose their scale by all the numbers of a call, so that rows and steps which share one change each other.
SHARED_SCALES = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul"})

RANDOM_OPERATORS = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def check_graph(data: bytes, *, where: str, manifest: Manifest, file: str) -> None:
    """Raises BundleError if the ONNX file `data`, listed as `file`, breaks a rule; `where` names it to people.

    Refused: what is not ONNX, sizes over the limits, data outside the file, operators of unknown domains, random
    operators (unless the manifest says that the model is not deterministic), and inputs and outputs that are not those
    of the manifest's entries.
    """
    model = _parse(data, where)
    check_content(model, where=where, may_draw=is_random(manifest))
    interface.check_interface(model.graph, where=where, manifest=manifest, file=file)


def check_content(model: onnx.ModelProto, *, where: str, may_draw: bool) -> None:
    """Raises BundleError at what may be in no graph, whatever its inputs and outputs are."""
    for path, message in _walk(model, "model", 0, where):
        if isinstance(message, onnx.TensorProto):
            _check_tensor(message, f"{where}: {path}")
        elif isinstance(message, onnx.GraphProto | onnx.FunctionProto):
            _check_nodes(model, message, f"{where}: {path}", may_draw=may_draw)


def operators(model: onnx.ModelProto, where: str) -> frozenset[str]:
    """Returns the types of all nodes, those of subgraphs and functions too."""
    return frozenset(one.op_type for _, one in _walk(model, "model", 0, where) if isinstance(one, onnx.NodeProto))


def _parse(data: bytes, where: str) -> onnx.ModelProto:
    if len(data) > MAX_FILE_BYTES:
        raise BundleError(f"{where}: at most {MAX_FILE_BYTES} bytes, got {len(data)}")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise BundleError(f"{where}: not an ONNX file: {error}") from None
    if not model.graph.node or not model.opset_import:
        raise BundleError(f"{where}: not an ONNX file: it has no graph or no operator set")
    return model


def _walk(message: Message, path: str, depth: int, where: str) -> Iterator[tuple[str, Message]]:
    """Gives every message inside `message`, found by the message types themselves, so that no place is forgotten."""
    if depth > MAX_GRAPH_DEPTH:
        raise BundleError(f"{where}: {path} lies deeper than {MAX_GRAPH_DEPTH} levels")
    yield path, message
    for field, value in message.ListFields():
        if field.message_type is None:
            texts = [value] if isinstance(value, bytes) else value
            if field.type == field.TYPE_STRING and any(isinstance(text, bytes) for text in texts):
                raise BundleError(f"{where}: {path}: {field.name} is not UTF-8")  # as bytes it would equal no name
            continue
        for child in [value] if isinstance(value, Message) else value:
            yield from _walk(child, f"{path}/{_label(child, field.name)}", depth + 1, where)


def _label(message: Message, field: str) -> str:
    """Names a message for people: its field and its own name, or that of what it holds."""
    name = getattr(message, "name", "")
    if not name and isinstance(message, onnx.NodeProto) and message.output:
        name = message.output[0]  # nodes are often nameless; their outputs never are
    if not name and isinstance(message, onnx.SparseTensorProto):
        name = message.values.name
    return f"{field} {name!r}" if name else field


def _check_tensor(tensor: onnx.TensorProto, where: str) -> None:
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise BundleError(
            f"{where}: its data lie in another file; put them inside with onnx.load(PATH) and "
            "onnx.save(model, PATH, save_as_external_data=False)"
        )
    if any(length < 0 for length in tensor.dims) or math.prod(tensor.dims) > MAX_TENSOR_ELEMENTS:
        raise BundleError(f"{where}: at most {MAX_TENSOR_ELEMENTS} elements, got shape {list(tensor.dims)}")


def is_random(manifest: Manifest) -> bool:
    """Whether the manifest says that the same step need not give the same answer."""
    return manifest.HasField("deterministic") and not manifest.deterministic


def _check_nodes(
    model: onnx.ModelProto, graph: onnx.GraphProto | onnx.FunctionProto, where: str, *, may_draw: bool
) -> None:
    functions = {(function.domain, function.name) for function in model.functions}
    for node in graph.node:
        place = f"{where}: {_label(node, 'node')} ({node.op_type})"
        is_runtimes = node.domain == RUNTIME_DOMAIN and node.op_type in RUNTIME_OPERATORS
        if node.domain not in ALLOWED_DOMAINS and (node.domain, node.op_type) not in functions and not is_runtimes:
            raise BundleError(
                f"{place}: unknown operator domain {node.domain!r}; expected the standard's operators, or one of "
                f"those of {RUNTIME_DOMAIN} that quantised models have"
            )
        if may_draw:
            continue
        if node.op_type in RANDOM_OPERATORS:
            raise BundleError(
                f"{place}: a random operator; the same step would not give the same answer. Export the model without "
                'it, or write "deterministic": false into the manifest'
            )
        if node.op_type == "Dropout" and _is_dropping(node, graph):
            raise BundleError(f"{place}: drops at random; export the model in evaluation mode")


def _is_dropping(node: onnx.NodeProto, graph: onnx.GraphProto | onnx.FunctionProto) -> bool:
    """Whether a Dropout may be in training mode: told so by its third input, or by `is_test` before opset 7."""
    if any(attribute.name == "is_test" and attribute.i == 0 for attribute in node.attribute):
        return True
    if len(node.input) < 3 or not node.input[2]:
        return False
    for tensor in _constants(graph, node.input[2]):
        return bool(tensor.raw_data.strip(b"\0") or any(tensor.int32_data))
    return True  # decided while it runs


def _constants(graph: onnx.GraphProto | onnx.FunctionProto, name: str) -> Iterator[onnx.TensorProto]:
    if isinstance(graph, onnx.GraphProto) and name not in {value.name for value in graph.input}:
        yield from (tensor for tensor in graph.initializer if tensor.name == name)
    for node in graph.node:
        if node.op_type == "Constant" and name in node.output:
            yield from (attribute.t for attribute in node.attribute if attribute.name == "value")

"""Small real bundles for tests: true ONNX files with hand-made weights, written in milliseconds.

    models = tmp_path / "models"
    write_accumulator(models)           # sequence model `accumulator` version 1
    write_two_states(models)            # sequence model `two-states` version 1: awkward axes, an initial state
    write_tiny_qa(models)               # question-answering model `tiny-qa` version 1

Each writes `models/<model_id>/<version>/` and returns that folder; `models` is what the server takes as its folder of
models. All of them pass every check of the loader unless an argument plants a fault.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tapehead.bundle import write_bundle
from tapehead.v1.manifest_pb2 import (
    BundleFile,
    Entry,
    EntryTensor,
    Manifest,
    ModelKind,
    NonFinite,
    QuestionAnswering,
    StateTensor,
)
from tapehead.v1.tensor_pb2 import DataType

FLOAT, INT64 = DataType.DATA_TYPE_FLOAT32, DataType.DATA_TYPE_INT64
INT_ELEMENT = TensorProto.INT64  # the same type, as graphs name it

QA_WORDS = (
    "",
    "mary",
    "john",
    "daniel",
    "went",
    "to",
    "the",
    "kitchen",
    "garden",
    "office",
    "where",
    "is",
    "<unknown>",
)
QA_ANSWERS = ("kitchen", "garden", "office")
QA_MEMORY_SENTENCES = 8
QA_SENTENCE_WORDS = 6


def onnx_bytes(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, np.ndarray] | None = None,
) -> bytes:
    """Returns an ONNX file of the given parts."""
    initializers = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return model.SerializeToString()


def value(name: str, shape: list[str | int], dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def accumulator_parts(
    size: int = 3, *, mixes_batch: bool = False
) -> tuple[list[onnx.NodeProto], list[onnx.ValueInfoProto], list[onnx.ValueInfoProto], dict[str, np.ndarray]]:
    """The accumulator's nodes, inputs, outputs and constants, for tests that spoil one of them."""
    nodes = [
        helper.make_node("Add", ["state.total", "x"], ["y"]),
        helper.make_node("Identity", ["y"], ["next_state.total"]),
        helper.make_node("ReduceSum", ["y", "last_axis"], ["sum"], keepdims=1),
    ]
    if mixes_batch:  # rows see each other through the mean over the batch
        nodes = [
            helper.make_node("ReduceMean", ["x", "batch_axis"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["centred"]),
            helper.make_node("Add", ["state.total", "centred"], ["y"]),
            *nodes[1:],
        ]
    inputs = [value("x", ["batch", size]), value("state.total", ["batch", size])]
    outputs = [value("y", ["batch", size]), value("sum", ["batch", 1]), value("next_state.total", ["batch", size])]
    constants = {"last_axis": np.array([1]), "batch_axis": np.array([0])}
    return nodes, inputs, outputs, constants if mixes_batch else {"last_axis": constants["last_axis"]}


def accumulator_manifest(
    model_id: str = "accumulator", version: int = 1, size: int = 3, *, allow_non_finite: bool = False
) -> Manifest:
    """The accumulator's manifest without files and probes."""
    rule = NonFinite.NON_FINITE_ALLOW if allow_non_finite else NonFinite.NON_FINITE_REJECT
    return Manifest(
        format=1,
        model_id=model_id,
        version=version,
        kind=ModelKind.MODEL_KIND_SEQUENCE,
        description="Adds every input to a running total.",
        entries=[
            Entry(
                name="step",
                file="model.onnx",
                inputs=[EntryTensor(name="x", dtype=FLOAT, shape=[size], non_finite=rule)],
                outputs=[
                    EntryTensor(name="y", dtype=FLOAT, shape=[size], non_finite=rule),
                    EntryTensor(name="sum", dtype=FLOAT, shape=[1], inspection=True, non_finite=rule),
                ],
                reads_state=True,
                writes_state=True,
            )
        ],
        state=[StateTensor(name="total", dtype=FLOAT, shape=[size], non_finite=rule)],
    )


def write_accumulator(
    models: Path,
    *,
    model_id: str = "accumulator",
    version: int = 1,
    size: int = 3,
    mixes_batch: bool = False,
    allow_non_finite: bool = False,
) -> Path:
    """Writes a sequence model: input `x` float32 [3]; output `y` = total + x [3]; inspection output `sum` [1] (of y).

    Its state is `total` float32 [3], zeros at the start, so y is the running sum of everything sent: a step lost, done
    twice or mixed with another session's shows in the numbers at once. Small whole numbers add without rounding.
    `mixes_batch` plants a fault: every row also depends on its neighbours in the batch.
    """
    folder = models / model_id / str(version)
    calls = [("step", {"x": np.arange(size, dtype=np.float32) + row}) for row in range(3)]
    graph = onnx_bytes(*accumulator_parts(size, mixes_batch=mixes_batch))
    manifest = accumulator_manifest(model_id, version, size, allow_non_finite=allow_non_finite)
    write_bundle(folder, manifest, {"model.onnx": graph}, [calls], tolerance=1e-6)
    return folder


def write_two_states(models: Path, *, model_id: str = "two-states", version: int = 1) -> Path:
    """Writes a sequence model with awkward axes: input `x` float32 [4], output `y` [4].

    Its state is `hidden` float32 [2, 4], which the graph keeps as [2, batch, 4] under the names `h` and `h_next` and
    which starts at 0.25 (from a file): hidden' = hidden / 2 + x, y = hidden'[0] + hidden'[1]; and `count` int64 [1],
    the number of steps.
    """
    nodes = [
        helper.make_node("Mul", ["h", "half"], ["decayed"]),
        helper.make_node("Add", ["decayed", "frame"], ["h_next"]),
        helper.make_node("ReduceSum", ["h_next", "layers"], ["y"], keepdims=0),
        helper.make_node("Add", ["state.count", "one"], ["next_state.count"]),
    ]
    inputs = [
        value("frame", ["batch", 4]),
        value("h", [2, "batch", 4]),
        value("state.count", ["batch", 1], TensorProto.INT64),
    ]
    outputs = [
        value("y", ["batch", 4]),
        value("h_next", [2, "batch", 4]),
        value("next_state.count", ["batch", 1], TensorProto.INT64),
    ]
    constants = {"half": np.array(0.5, np.float32), "layers": np.array([0]), "one": np.array([1])}
    step = Entry(
        name="step",
        file="step.onnx",
        inputs=[EntryTensor(name="x", graph_name="frame", dtype=FLOAT, shape=[4])],
        outputs=[EntryTensor(name="y", dtype=FLOAT, shape=[4])],
        reads_state=True,
        writes_state=True,
    )
    hidden = StateTensor(
        name="hidden",
        graph_input="h",
        graph_output="h_next",
        dtype=FLOAT,
        shape=[2, 4],
        batch_axis=1,
        initial_file="initial/hidden.bin",
    )
    manifest = Manifest(
        format=1,
        model_id=model_id,
        version=version,
        kind=ModelKind.MODEL_KIND_SEQUENCE,
        entries=[step],
        state=[hidden, StateTensor(name="count", dtype=INT64, shape=[1])],
    )
    files = {
        "step.onnx": onnx_bytes(nodes, inputs, outputs, constants),
        "initial/hidden.bin": np.full((2, 4), 0.25, np.float32).tobytes(),
    }
    calls = [("step", {"x": np.array([1, 2, 3, 4], np.float32)}), ("step", {"x": np.zeros(4, np.float32)})]
    folder = models / model_id / str(version)
    write_bundle(folder, manifest, files, [calls], tolerance=1e-6)
    return folder


def write_tiny_qa(
    models: Path,
    *,
    model_id: str = "tiny-qa",
    version: int = 1,
    allow_unknown: bool = True,
    forget_oldest: bool = True,
    absorb: bool = False,
) -> Path:
    """Writes a question-answering model that really answers `where is mary`, `john` or `daniel`.

    It was not trained: one hop looks for the newest sentence that shares a person with the question and answers with
    that sentence's place, kitchen, garden or office (`QA_ANSWERS`). A person of whom nothing was told gets the place
    of the newest sentence. Memory: `QA_MEMORY_SENTENCES` (8) sentences of up to `QA_SENTENCE_WORDS` (6) words out of
    `QA_WORDS`; state `memory` float32 [8, 6] and `length` int64 [1]. Entries `tell`, `ask` and `answer`, outputs
    `probabilities` [3] and `attention` [1, sentences], newest last. With `absorb` it says that its memory takes in any
    number of sentences and that the columns of its attention are slots.
    """
    question_answering = QuestionAnswering(
        words=QA_WORDS,
        answers=QA_ANSWERS,
        sentence_words=QA_SENTENCE_WORDS,
        memory_sentences=QA_MEMORY_SENTENCES,
        story_overflow=(
            QuestionAnswering.STORY_OVERFLOW_FORGET_OLDEST if forget_oldest else QuestionAnswering.STORY_OVERFLOW_REFUSE
        ),
        unknown_words=(
            QuestionAnswering.UNKNOWN_WORDS_ALLOW if allow_unknown else QuestionAnswering.UNKNOWN_WORDS_REFUSE
        ),
        splitting=QuestionAnswering.SPLITTING_WORDS,
        unknown_word_id=QA_WORDS.index("<unknown>"),
        length_state="length",
        probabilities_output="probabilities",
        attention_output="attention",
    )
    if absorb:
        question_answering.story_overflow = QuestionAnswering.STORY_OVERFLOW_ABSORB
        question_answering.memory_sentences = 0
        question_answering.attention_columns = QuestionAnswering.ATTENTION_COLUMNS_SLOTS
    manifest = Manifest(
        format=1,
        model_id=model_id,
        version=version,
        kind=ModelKind.MODEL_KIND_QUESTION_ANSWERING,
        description="Says where a person went last.",
        entries=_qa_entries(),
        state=[
            StateTensor(name="memory", dtype=FLOAT, shape=[QA_MEMORY_SENTENCES, 6]),
            StateTensor(name="length", dtype=INT64, shape=[1]),
        ],
        question_answering=question_answering,
    )
    files = {"tell.onnx": _tell_graph(), "ask.onnx": _ask_graph(), "answer.onnx": _answer_graph()}
    story = [qa_ids("mary went to the kitchen"), qa_ids("john went to the garden")]
    question = qa_ids("where is mary")
    told = [("tell", {"sentence": sentence}) for sentence in story]
    probes = [
        [*told, ("ask", {"question": question})],
        [("answer", {"story": np.stack(story), "question": question})],
    ]
    folder = models / model_id / str(version)
    write_bundle(folder, manifest, files, probes, tolerance=1e-5)
    return folder


def qa_ids(sentence: str) -> np.ndarray:
    """The ids of a sentence of known lower-case words, int64 [6]."""
    ids = [QA_WORDS.index(word) for word in sentence.split()]
    return np.array(ids + [0] * (QA_SENTENCE_WORDS - len(ids)), np.int64)


def list_file(manifest: Manifest, path: str) -> BundleFile:
    """The manifest's line about a file, for tests that spoil it."""
    return next(file for file in manifest.files if file.path == path)


def _qa_entries() -> list[Entry]:
    words, answers = QA_SENTENCE_WORDS, len(QA_ANSWERS)
    question = EntryTensor(name="question", dtype=INT64, shape=[words])
    probabilities = EntryTensor(name="probabilities", dtype=FLOAT, shape=[answers])
    return [
        Entry(
            name="tell",
            file="tell.onnx",
            inputs=[EntryTensor(name="sentence", dtype=INT64, shape=[words])],
            reads_state=True,
            writes_state=True,
        ),
        Entry(
            name="ask",
            file="ask.onnx",
            inputs=[question],
            outputs=[probabilities, EntryTensor(name="attention", dtype=FLOAT, shape=[1, QA_MEMORY_SENTENCES])],
            reads_state=True,
        ),
        Entry(
            name="answer",
            file="answer.onnx",
            inputs=[EntryTensor(name="story", dtype=INT64, shape=[-1, words]), question],
            outputs=[probabilities, EntryTensor(name="attention", dtype=FLOAT, shape=[1, -1])],
        ),
    ]


def _embedding() -> np.ndarray:
    """[words, 6]: columns 0 to 2 say who, columns 3 to 5 say where; every other word means nothing."""
    table = np.zeros((len(QA_WORDS), 6), np.float32)
    for column, word in enumerate(("mary", "john", "daniel", *QA_ANSWERS)):
        table[QA_WORDS.index(word), column] = 1
    return table


def _tell_graph() -> bytes:
    nodes = [
        helper.make_node("Gather", ["embedding", "sentence"], ["word_vectors"]),  # [B, L, 6]
        helper.make_node("ReduceSum", ["word_vectors", "axis1"], ["sentence_vector"], keepdims=1),  # [B, 1, 6]
        helper.make_node("Slice", ["state.memory", "one", "far", "axis1"], ["kept"]),
        helper.make_node("Concat", ["kept", "sentence_vector"], ["next_state.memory"], axis=1),
        helper.make_node("Add", ["state.length", "one"], ["next_state.length"]),
    ]
    state = [("memory", ["batch", QA_MEMORY_SENTENCES, 6], TensorProto.FLOAT), ("length", ["batch", 1], INT_ELEMENT)]
    inputs = [value("sentence", ["batch", QA_SENTENCE_WORDS], INT_ELEMENT)]
    inputs += [value(f"state.{name}", shape, dtype) for name, shape, dtype in state]
    outputs = [value(f"next_state.{name}", shape, dtype) for name, shape, dtype in state]
    constants = {
        "embedding": _embedding(),
        "axis1": np.array([1]),
        "one": np.array([1]),
        "far": np.array([QA_MEMORY_SENTENCES]),
    }
    return onnx_bytes(nodes, inputs, outputs, constants)


def _answering_nodes(memory: str, recency: str, used: str) -> list[onnx.NodeProto]:
    """From `memory` [B, S, 6], `recency` [S] and `used` [B, S] (1 or 0) to probabilities and attention."""
    return [
        helper.make_node("Gather", ["embedding", "question"], ["question_words"]),  # [B, L, 6]
        helper.make_node("ReduceSum", ["question_words", "axis1"], ["question_vector"], keepdims=1),  # [B, 1, 6]
        helper.make_node("Mul", [memory, "question_vector"], ["shared_words"]),
        helper.make_node("ReduceSum", ["shared_words", "axis2"], ["shared"], keepdims=0),  # [B, S]
        helper.make_node("Mul", ["shared", "match_gain"], ["match"]),
        helper.make_node("Add", ["match", recency], ["score"]),
        helper.make_node("Sub", [used, "unit"], ["emptiness"]),
        helper.make_node("Mul", ["emptiness", "never"], ["penalty"]),
        helper.make_node("Add", ["score", "penalty"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["weights"], axis=-1),
        helper.make_node("Mul", ["weights", used], ["clean_weights"]),
        helper.make_node("Unsqueeze", ["clean_weights", "axis1"], ["attention"]),  # [B, 1, S]
        helper.make_node("MatMul", ["attention", memory], ["read"]),  # [B, 1, 6]
        helper.make_node("Squeeze", ["read", "axis1"], ["read_vector"]),
        helper.make_node("Slice", ["read_vector", "three", "six", "axis1"], ["place"]),  # [B, 3]
        helper.make_node("Mul", ["place", "answer_gain"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]


def _answering_constants() -> dict[str, np.ndarray]:
    return {
        "embedding": _embedding(),
        "axis1": np.array([1]),
        "axis2": np.array([2]),
        "three": np.array([3]),
        "six": np.array([6]),
        "unit": np.array(1, np.float32),
        "match_gain": np.array(60, np.float32),  # above what recency can give to eight sentences
        "recency_gain": np.array(6, np.float32),
        "answer_gain": np.array(8, np.float32),
        "never": np.array(1e9, np.float32),
    }


def _answering_outputs(sentences: str | int) -> list[onnx.ValueInfoProto]:
    return [value("probabilities", ["batch", len(QA_ANSWERS)]), value("attention", ["batch", 1, sentences])]


def _ask_graph() -> bytes:
    nodes = [
        helper.make_node("Add", ["slots", "state.length"], ["reach"]),  # [B, S]: slot + length
        helper.make_node("GreaterOrEqual", ["reach", "slot_count"], ["is_used"]),
        helper.make_node("Cast", ["is_used"], ["used"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["slots"], ["positions"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["positions", "recency_gain"], ["recency"]),
        *_answering_nodes("state.memory", "recency", "used"),
    ]
    inputs = [
        value("question", ["batch", QA_SENTENCE_WORDS], INT_ELEMENT),
        value("state.memory", ["batch", QA_MEMORY_SENTENCES, 6]),
        value("state.length", ["batch", 1], INT_ELEMENT),
    ]
    constants = {"slots": np.arange(QA_MEMORY_SENTENCES), "slot_count": np.array(QA_MEMORY_SENTENCES)}
    return onnx_bytes(nodes, inputs, _answering_outputs(QA_MEMORY_SENTENCES), constants | _answering_constants())


def _answer_graph() -> bytes:
    nodes = [
        helper.make_node("Gather", ["embedding", "story"], ["word_vectors"]),  # [B, S, L, 6]
        helper.make_node("ReduceSum", ["word_vectors", "axis2"], ["memory"], keepdims=0),  # [B, S, 6]
        helper.make_node("ReduceSum", ["memory", "axis2"], ["slot_sums"], keepdims=0),  # [B, S]
        helper.make_node("Mul", ["slot_sums", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "unit"], ["used"]),
        helper.make_node("CumSum", ["used", "last"], ["positions"]),
        helper.make_node("Mul", ["positions", "recency_gain"], ["recency"]),
        *_answering_nodes("memory", "recency", "used"),
    ]
    inputs = [
        value("story", ["batch", "sentences", QA_SENTENCE_WORDS], INT_ELEMENT),
        value("question", ["batch", QA_SENTENCE_WORDS], INT_ELEMENT),
    ]
    constants = {"last": np.array(1), "nothing": np.array(0, np.float32)}
    return onnx_bytes(nodes, inputs, _answering_outputs("sentences"), constants | _answering_constants())

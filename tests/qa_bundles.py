"""A small real question-answering bundle for tests, `tiny-qa`, with hand-made weights (see bundles.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tapehead.bundle import write_bundle
from tapehead.v1.manifest_pb2 import (
    Entry,
    EntryTensor,
    Manifest,
    ModelKind,
    QuestionAnswering,
    StateTensor,
)
from tests.bundles import FLOAT, INT64, INT_ELEMENT, onnx_bytes, value

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

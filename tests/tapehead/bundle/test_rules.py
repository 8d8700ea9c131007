"""A manifest that breaks a rule is refused, with the rule in the message."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tapehead.bundle import BundleError, check_manifest, read_manifest
from tapehead.v1.manifest_pb2 import EntryTensor, Manifest, ModelKind, Probe, QuestionAnswering
from tapehead.v1.tensor_pb2 import DataType
from tests.bundles import write_accumulator
from tests.qa_bundles import write_tiny_qa

FLOAT = DataType.DATA_TYPE_FLOAT32


@pytest.fixture
def accumulator(tmp_path: Path) -> Manifest:
    return read_manifest(write_accumulator(tmp_path))


@pytest.fixture
def tiny_qa(tmp_path: Path) -> Manifest:
    return read_manifest(write_tiny_qa(tmp_path))


def step_input(manifest: Manifest) -> EntryTensor:
    return manifest.entries[0].inputs[0]


SEQUENCE_FAULTS: dict[str, tuple[Callable[[Manifest], object], str]] = {
    "format": (lambda m: setattr(m, "format", 2), "format: expected 1, got 2"),
    "id": (lambda m: setattr(m, "model_id", "Über"), "model_id"),
    "id with a path": (lambda m: setattr(m, "model_id", "../x"), "model_id"),
    "version": (lambda m: setattr(m, "version", 0), "version: expected 1"),
    "kind": (lambda m: m.ClearField("kind"), "kind: expected"),
    "no entry": (lambda m: m.ClearField("entries"), "needs the entry 'step'"),
    "foreign entry": (lambda m: setattr(m.entries[0], "name", "ask"), "entry 'ask'"),
    "entry twice": (lambda m: m.entries.append(m.entries[0]), "'step' is there twice"),
    "unlisted graph": (lambda m: setattr(m.entries[0], "file", "other.onnx"), "'other.onnx' is not among"),
    "unlisted state": (lambda m: setattr(m.state[0], "initial_file", "s.bin"), "'s.bin' is not among"),
    "step without state": (lambda m: setattr(m.entries[0], "writes_state", False), "expected reads_state True"),
    "no state": (lambda m: m.ClearField("state"), "keeps nothing between steps"),
    "state twice": (lambda m: m.state.append(m.state[0]), "'total' is there twice"),
    "growing state": (lambda m: m.state[0].shape.append(-1), "expected a maximum for each axis"),
    "huge state": (lambda m: m.state[0].shape.append(2**24), "bytes a session"),
    "input twice": (lambda m: m.entries[0].inputs.append(step_input(m)), "'x' is there twice"),
    "no name": (lambda m: setattr(step_input(m), "name", ""), "expected a name"),
    "no type": (lambda m: step_input(m).ClearField("dtype"), "data type"),
    "zero length": (lambda m: step_input(m).shape.append(0), "lengths of 1 or more"),
    "huge tensor": (lambda m: step_input(m).shape.append(2**60), "elements"),
    "many axes": (lambda m: step_input(m).shape.extend([1] * 9), "axes"),
    "batch axis": (lambda m: setattr(step_input(m), "batch_axis", 2), "batch axis from -1 to 1"),
    "no probe": (lambda m: m.ClearField("probes"), r"expected one that runs \['step'\]"),
    "probe of nothing": (lambda m: setattr(m.probes[0].calls[0], "entry", "walk"), "'walk'"),
    "tolerance": (lambda m: setattr(m.probes[0], "tolerance", float("nan")), "tolerance"),
    "probe content": (lambda m: m.probes[0].calls[0].inputs[0].shape.append(9), "tensor 'x'"),
}


@pytest.mark.parametrize(("spoil", "message"), SEQUENCE_FAULTS.values(), ids=SEQUENCE_FAULTS)
def test_a_faulty_sequence_manifest_is_refused(
    accumulator: Manifest, spoil: Callable[[Manifest], object], message: str
):
    spoil(accumulator)

    with pytest.raises(BundleError, match=message):
        check_manifest(accumulator)


def absorb(manifest: Manifest, memory_sentences: int = 0) -> None:
    manifest.question_answering.story_overflow = QuestionAnswering.STORY_OVERFLOW_ABSORB
    manifest.question_answering.memory_sentences = memory_sentences


QUESTION_FAULTS: dict[str, tuple[Callable[[Manifest], object], str]] = {
    "no words": (lambda m: m.ClearField("question_answering"), "question_answering: expected"),
    "word twice": (lambda m: m.question_answering.words.append("mary"), "'mary' is there twice"),
    "answers": (lambda m: m.question_answering.answers.append("attic"), "one column for each of the 4 answers"),
    "sentence words": (lambda m: setattr(m.question_answering, "sentence_words", 5), "expected int64"),
    "no sentence words": (lambda m: setattr(m.question_answering, "sentence_words", 0), "sentence_words"),
    "unknown word": (lambda m: setattr(m.question_answering, "unknown_word_id", 99), "unknown_word_id"),
    "length": (lambda m: setattr(m.question_answering, "length_state", "size"), "'size' is not a state"),
    "length type": (lambda m: setattr(m.question_answering, "length_state", "memory"), "one int64"),
    "probabilities": (lambda m: setattr(m.question_answering, "probabilities_output", "p"), "'p' is not an output"),
    "attention": (lambda m: setattr(m.question_answering, "attention_output", "probabilities"), "hops"),
    "no memory": (lambda m: setattr(m.question_answering, "memory_sentences", 0), "memory_sentences: expected 1 to"),
    "bounded absorption": (
        lambda m: absorb(m, memory_sentences=8),
        "memory_sentences: expected none for STORY_OVERFLOW_ABSORB",
    ),
    "sentences after absorption": (
        lambda m: absorb(m),
        "attention_columns: expected ATTENTION_COLUMNS_SLOTS",
    ),
    "tell without ask": (lambda m: m.entries.pop(1), "'tell' and 'ask'"),
    "input": (lambda m: setattr(m.entries[0].inputs[0], "name", "words"), "expected the inputs"),
}


@pytest.mark.parametrize(("spoil", "message"), QUESTION_FAULTS.values(), ids=QUESTION_FAULTS)
def test_a_faulty_question_manifest_is_refused(tiny_qa: Manifest, spoil: Callable[[Manifest], object], message: str):
    spoil(tiny_qa)

    with pytest.raises(BundleError, match=message):
        check_manifest(tiny_qa)


def test_a_memory_that_absorbs_shows_slots_or_nothing(tiny_qa: Manifest):
    absorb(tiny_qa)
    rules = tiny_qa.question_answering

    rules.attention_columns = QuestionAnswering.ATTENTION_COLUMNS_SLOTS
    check_manifest(tiny_qa)
    rules.ClearField("attention_columns")
    rules.ClearField("attention_output")
    check_manifest(tiny_qa)


def test_a_model_that_only_answers_whole_stories_needs_no_state(tiny_qa: Manifest):
    del tiny_qa.entries[0:2]
    tiny_qa.ClearField("state")
    probes = [probe for probe in tiny_qa.probes if probe.calls[0].entry == "answer"]
    del tiny_qa.probes[:]
    tiny_qa.probes.extend(probes)

    check_manifest(tiny_qa)


def test_a_sequence_model_needs_no_words(accumulator: Manifest):
    assert accumulator.kind == ModelKind.MODEL_KIND_SEQUENCE

    check_manifest(accumulator)


def test_an_endless_list_of_probes_is_no_excuse_for_an_unproved_entry(tiny_qa: Manifest):
    """Every entry has to be run by a probe; `tell` is proved by the `ask` behind it."""
    del tiny_qa.probes[1]
    tiny_qa.probes.extend([Probe(tolerance=0)] * 3)

    with pytest.raises(BundleError, match=r"\['answer'\]"):
        check_manifest(tiny_qa)

"""The rules that only the manifest of a question-answering model can break."""

from __future__ import annotations

from collections.abc import Sequence

from tapehead.bundle import limits
from tapehead.bundle.errors import BundleError
from tapehead.v1.manifest_pb2 import Entry, EntryTensor, Manifest, QuestionAnswering
from tapehead.v1.tensor_pb2 import DataType

# Entry -> the inputs that the service fills from text.
_INPUTS = {"tell": {"sentence"}, "ask": {"question"}, "answer": {"story", "question"}}


def check_question_answering(manifest: Manifest) -> None:
    """Raises BundleError where words, limits, entries and state do not fit together."""
    if not manifest.HasField("question_answering"):
        raise BundleError("question_answering: expected for MODEL_KIND_QUESTION_ANSWERING")
    rules = manifest.question_answering
    _check_bounds(rules)
    _check_memory(rules)
    _check_words("words", rules.words)
    _check_words("answers", rules.answers)
    if not 0 <= rules.unknown_word_id < len(rules.words):
        raise BundleError(f"unknown_word_id: expected 0 to {len(rules.words) - 1}, got {rules.unknown_word_id}")
    for entry in manifest.entries:
        _check_inputs(entry, rules)
        if entry.name != "tell":
            _check_answers(entry, rules)
    if any(entry.name == "tell" for entry in manifest.entries):
        _check_length_state(manifest)


def _check_bounds(rules: QuestionAnswering) -> None:
    for name, got, limit in (
        ("sentence_words", rules.sentence_words, limits.MAX_SENTENCE_WORDS),
        ("words", len(rules.words), limits.MAX_WORDS),
        ("answers", len(rules.answers), limits.MAX_WORDS),
    ):
        if not 1 <= got <= limit:
            raise BundleError(f"question_answering {name}: expected 1 to {limit}, got {got}")


def _check_memory(rules: QuestionAnswering) -> None:
    limit = limits.MAX_MEMORY_SENTENCES
    if rules.story_overflow != QuestionAnswering.STORY_OVERFLOW_ABSORB:
        if not 1 <= rules.memory_sentences <= limit:
            raise BundleError(
                f"question_answering memory_sentences: expected 1 to {limit}, got {rules.memory_sentences}"
            )
        return
    if rules.memory_sentences:
        raise BundleError(
            "question_answering memory_sentences: expected none for STORY_OVERFLOW_ABSORB, which takes in any number "
            f"of sentences, got {rules.memory_sentences}"
        )
    if rules.attention_output and rules.attention_columns != QuestionAnswering.ATTENTION_COLUMNS_SLOTS:
        raise BundleError(
            "question_answering attention_columns: expected ATTENTION_COLUMNS_SLOTS for STORY_OVERFLOW_ABSORB: such a "
            "memory keeps no sentence that a weight could belong to"
        )


def _check_words(where: str, words: Sequence[str]) -> None:
    if len(set(words)) != len(words):
        twice = next(word for word in words if list(words).count(word) > 1)
        raise BundleError(f"question_answering {where}: {twice!r} is there twice")


def _check_inputs(entry: Entry, rules: QuestionAnswering) -> None:
    names = {tensor.name for tensor in entry.inputs}
    if names != _INPUTS[entry.name]:
        raise BundleError(
            f"entry {entry.name!r}: expected the inputs {sorted(_INPUTS[entry.name])}, got {sorted(names)}"
        )
    for tensor in entry.inputs:
        expected = [-1, rules.sentence_words] if tensor.name == "story" else [rules.sentence_words]
        if tensor.dtype != DataType.DATA_TYPE_INT64 or list(tensor.shape) != expected:
            raise BundleError(
                f"entry {entry.name!r} input {tensor.name!r}: expected int64 {expected}, "
                f"got {DataType.Name(tensor.dtype)} {list(tensor.shape)}"
            )


def _check_answers(entry: Entry, rules: QuestionAnswering) -> None:
    probabilities = _output(entry, rules.probabilities_output, "probabilities_output")
    if list(probabilities.shape) != [len(rules.answers)]:
        raise BundleError(
            f"entry {entry.name!r} output {probabilities.name!r}: expected one column for each of the "
            f"{len(rules.answers)} answers, got shape {list(probabilities.shape)}"
        )
    if rules.attention_output:
        attention = _output(entry, rules.attention_output, "attention_output")
        if len(attention.shape) != 2:
            raise BundleError(
                f"entry {entry.name!r} output {attention.name!r}: expected [hops, columns], "
                f"got shape {list(attention.shape)}"
            )


def _output(entry: Entry, name: str, field: str) -> EntryTensor:
    for tensor in entry.outputs:
        if tensor.name == name:
            return tensor
    raise BundleError(f"question_answering {field}: {name!r} is not an output of the entry {entry.name!r}")


def _check_length_state(manifest: Manifest) -> None:
    name = manifest.question_answering.length_state
    for tensor in manifest.state:
        if tensor.name == name:
            if tensor.dtype != DataType.DATA_TYPE_INT64 or list(tensor.shape) not in ([], [1]):
                raise BundleError(f"length_state {name!r}: expected one int64, got shape {list(tensor.shape)}")
            return
    raise BundleError(f"length_state: {name!r} is not a state tensor")

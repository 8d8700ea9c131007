"""The shipped bundle answers stories that a person types."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tapehead.bundle import read_manifest, verify
from tapehead.bundle.text import Vocabulary
from tapehead.bundle.verify import open_graphs
from training.tasks.babi_words import UNKNOWN

FOLDER = Path(__file__).parents[3] / "models" / "babi-qa" / "1"
STORIES = [
    (["Mary moved to the bathroom.", "John went to the hallway."], "Where is Mary?", "bathroom", {0}),
    (
        ["John took the milk.", "John went to the office.", "Mary went to the garden."],
        "Where is the milk?",
        "office",
        {0, 1},
    ),
    (["Daniel took the apple.", "Daniel took the milk."], "What is Daniel carrying?", "apple,milk", {0, 1}),
    (["Mice are afraid of wolves.", "Gertrude is a mouse."], "What is Gertrude afraid of?", "wolf", {0, 1}),
]


@pytest.fixture(scope="module")
def bundle() -> tuple[object, Vocabulary]:
    """Its manifest with what runs it, and its words."""
    manifest = read_manifest(FOLDER)
    graphs = {entry.file: (FOLDER / entry.file).read_bytes() for entry in manifest.entries}
    return (manifest, open_graphs(manifest, graphs)), Vocabulary.from_manifest(manifest.question_answering)


def test_its_probes_replay() -> None:
    assert verify(FOLDER) < 1e-4


@pytest.mark.parametrize(("story", "question", "expected", "deciding"), STORIES)
def test_it_answers(bundle, story: list[str], question: str, expected: str, deciding: set[int]) -> None:
    (manifest, run), words = bundle
    sentences = np.stack([words.encode(sentence).ids for sentence in story])

    outputs, _ = run("answer", {"story": sentences, "question": words.encode(question).ids}, {})

    assert manifest.question_answering.answers[int(outputs["probabilities"].argmax())] == expected
    assert int(outputs["attention"].mean(0).argmax()) in deciding


def test_an_unknown_word_is_listed_and_means_nothing(bundle) -> None:
    (_, run), words = bundle
    question = words.encode("Where is Mary?").ids

    def answer(sentence: str) -> np.ndarray:
        encoded = words.encode(sentence)
        return run("answer", {"story": encoded.ids[None], "question": question}, {})[0]["probabilities"]

    encoded = words.encode("Mary xylographed to the bathroom.")
    assert encoded.unknown == ("xylographed",)
    assert UNKNOWN in encoded.ids
    assert np.array_equal(answer("Mary xylographed to the bathroom."), answer("Mary zzz to the bathroom."))

"""The shipped bundle answers stories that a person types."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tapehead.bundle import initial_state, read_manifest, verify
from tapehead.bundle.text import Vocabulary
from tapehead.bundle.verify import open_graphs
from tapehead.v1.manifest_pb2 import StateTensor
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


@pytest.mark.parametrize("name", ["babi-qa", "babi-qa-entity"])
def test_a_question_has_the_same_answer_beside_those_of_longer_stories(name: str) -> None:
    """Bit for bit, for only then does the service let questions share a run."""
    folder = FOLDER.parents[1] / name / "1"
    manifest = read_manifest(folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    tell, ask = (onnxruntime.InferenceSession(str(folder / f"{entry}.onnx"), options) for entry in ("tell", "ask"))
    seed, rows = 17, 12
    random = np.random.default_rng(seed)
    words = len(manifest.question_answering.words)
    lengths = random.integers(0, 40, rows)
    state = {f"state.{t.name}": np.stack([value] * rows) for t, value in _states(folder)}
    for step in range(lengths.max()):
        sentences = random.integers(1, words, (rows, manifest.question_answering.sentence_words))
        told = dict(zip(state, tell.run(None, {"sentence": sentences} | state), strict=True))
        going_on = step < lengths
        state = {
            key: np.where(going_on.reshape(-1, *[1] * (old.ndim - 1)), told[key], old) for key, old in state.items()
        }
    taken = {value.name for value in ask.get_inputs()}
    questions = random.integers(1, words, (rows, manifest.question_answering.sentence_words))
    feed = {"question": questions} | {key: value for key, value in state.items() if key in taken}

    together = ask.run(None, feed)

    for row in range(rows):
        alone = ask.run(None, {key: value[row : row + 1] for key, value in feed.items()})
        for output, one, all_rows in zip(ask.get_outputs(), alone, together, strict=True):
            assert np.array_equal(one[0], all_rows[row]), f"{output.name} of row {row}, seed {seed}"


def _states(folder: Path) -> list[tuple[StateTensor, np.ndarray]]:
    manifest = read_manifest(folder)
    values = initial_state(folder, manifest)
    return [(tensor, values[tensor.name]) for tensor in manifest.state]

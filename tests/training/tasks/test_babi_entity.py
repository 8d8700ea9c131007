"""Networks with a memory of fixed size, and readers, end to end on a few stories of our own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tapehead.bundle import check_manifest, read_manifest
from tests.training.tasks.test_babi import write_stories
from training.config import Config
from training.errors import TrainingError
from training.experiment import build
from training.export import export
from training.tasks.babi_entity import EntityExperiment
from training.tasks.babi_entity_stories import NO_QUESTION, WholeStories
from training.tasks.babi_reader import NOT_ASKED, ReaderExperiment
from training.tasks.babi_stories import parse
from training.tasks.babi_words import Words
from training.train import train

TINY = {"size": 16, "layers": 2, "heads": 2, "address": 8, "value": 8, "hops": 2, "linear_size": 8, "linear_hops": 1}


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    """A folder with two tasks."""
    for task in (1, 2):
        write_stories(tmp_path, task, "train", 200, seed=task)
        write_stories(tmp_path, task, "valid", 40, seed=10 + task)
    return tmp_path


def entity_config(folder: Path, updates: int = 6, evaluate_every: int = 3, **recipe: Any) -> Config:
    """As small as it gets."""
    return Config(
        name="tiny-entity",
        family="babi",
        updates=updates,
        evaluate_every=evaluate_every,
        average=0.5,
        task={"tasks": [1, 2], "folder": str(folder)},
        network={"kind": "entity", **TINY},
        recipe={"first_task": 2, "first_updates": 2, "slots": 120, "warm_up": 2, **recipe},
    )


def reader_config(folder: Path, reader: str = "gru", updates: int = 4) -> Config:
    """A network that reads task 1 word by word."""
    return Config(
        name="tiny-reader",
        family="babi",
        updates=updates,
        evaluate_every=2,
        task={"tasks": [1], "folder": str(folder)},
        network={"kind": "reader", "reader": reader, **({"units": 24} if reader != "ntm" else {"locations": 8})},
        recipe={"words": 400, "learning_rate": 0.01},
    )


def test_an_entity_network_learns_where_people_are(stories: Path) -> None:
    config = entity_config(stories, 240, evaluate_every=120, first_updates=0, slots=400, learning_rate=1e-2)

    result = train(config, stories / "run")

    assert result["test"]["score"] < 20, "three quarters of the places are wrong by chance"


def test_a_story_is_kept_with_all_its_questions() -> None:
    lines = [
        "1 Mary left.",
        "2 Where is Mary?\tout\t1",
        "3 John left.",
        "4 Where is John?\tout\t3",
        "5 Nobody asks.",
        "1 Mary is in.",
        "2 Where is Mary?\tin\t1",
    ]
    parsed = parse(lines, "test")
    words = Words.of(parsed)
    batch = WholeStories({1: parsed}, words).batch(np.array([0, 1]))

    def text(row: torch.Tensor) -> str:
        return " ".join(words.words[number] for number in batch.sentences[row].tolist() if number)

    assert [text(row) for row in batch.story[0]] == ["mary left", "john left"]
    assert [text(row) for row in batch.questions[0]] == ["where is mary", "where is john"]
    assert batch.after.tolist() == [[1, 2], [1, 0]]
    assert [words.answers[one] for one in batch.answer[0].tolist()] == ["out", "out"]
    assert batch.answer[1].tolist() == [words.class_of["in"], NO_QUESTION]
    assert len(batch.sentences) == 5, "each distinct sentence once"


def test_the_linear_memory_learns_first_and_alone(stories: Path) -> None:
    experiment = build(entity_config(stories))
    touched = []
    for update in (2, 3):
        experiment.set_update(update)
        experiment.network.zero_grad()
        experiment.loss(update).backward()  # type: ignore[no-untyped-call]
        touched.append({name.split(".")[0] for name, p in experiment.network.named_parameters() if p.grad is not None})

    assert touched == [{"linear"}, {"deep", "linear", "gate"}]


def test_the_linear_memory_takes_no_gradient_from_the_deep_one(stories: Path) -> None:
    """The deep memory learns as if it were alone: its gradient is that of its own scores."""
    experiment = build(entity_config(stories))
    assert isinstance(experiment, EntityExperiment)
    batch = experiment.train.batch(np.arange(4))

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        experiment.network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        return experiment.entity.deep.table.grad.clone()  # type: ignore[union-attr]

    def entropy(scores: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(scores.flatten(0, 1), batch.answer.flatten())

    y, added = experiment.entity.parts(*batch.asked())
    both = gradient(entropy(y) + entropy(y.detach() + added))
    alone = gradient(entropy(experiment.entity.parts(*batch.asked())[0]))

    assert torch.allclose(both, alone, atol=1e-7)


def session_config(folder: Path) -> Config:
    """Half the stories go on from long sessions, of which some begin anew."""
    return entity_config(folder, first_updates=0, after_share=0.5, after_longest=5, after_turns=2)


def test_long_sessions_go_on_and_begin_anew(stories: Path) -> None:
    """What a session remembers is what it was told since it began."""
    experiment = build(session_config(stories))
    assert isinstance(experiment, EntityExperiment)
    sessions, network = experiment.sessions, experiment.entity
    sessions.turns = 10**9  # none begins anew
    chosen, memory, prefix = sessions.draw(3, 250, experiment.generator)
    sentences = torch.from_numpy(experiment.train.sentences)
    assert not memory[0].any()

    sessions.go_on(chosen, sentences, torch.from_numpy(prefix), experiment.generator)

    expected = network.initial_memory(3)
    for number in range(250):
        with torch.no_grad():
            expected = network.tell(sentences[prefix[:, number]], expected)
    for kept, told in zip(sessions.memory, expected, strict=True):
        assert torch.allclose(kept[chosen], told, atol=1e-4)
        assert len(kept.flatten(1).any(dim=1).nonzero()) == 3, "the other sessions are as they were"
    sessions.turns = 1  # all begin anew
    sessions.go_on(chosen, sentences, torch.from_numpy(prefix), experiment.generator)
    assert not sessions.memory[0].any()


@pytest.mark.parametrize("make", [entity_config, session_config, reader_config])
def test_an_interrupted_run_goes_on_with_the_same_bits(stories: Path, make: Any) -> None:
    one, other = (build(make(stories)) for _ in range(2))
    steps(one, 1, 3)
    other.network.load_state_dict(one.network.state_dict())
    other.optimizer.load_state_dict(copy.deepcopy(one.optimizer.state_dict()))
    other.load_state(one.state())
    other.generator.set_state(one.generator.get_state())

    steps(one, 4, 4)
    steps(other, 4, 4)

    for name, value in one.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name]), name


def steps(experiment: Any, first: int, last: int) -> None:
    """Some updates, as the loop does them."""
    for update in range(first, last + 1):
        experiment.set_update(update)
        experiment.optimizer.zero_grad(set_to_none=True)
        experiment.loss(update).backward()
        experiment.clip()
        experiment.optimizer.step()


def test_a_run_becomes_a_bundle_without_a_bound_on_stories(stories: Path) -> None:
    """What onnxruntime answers is compared with PyTorch on the way, and again by the probes."""
    train(entity_config(stories, updates=3), stories / "run")

    folder = export(stories / "run", stories / "models", 1)

    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sizes["answer.onnx"] < sizes["tell.onnx"] + sizes["ask.onnx"], (
        "weights are there once, and nothing of PyTorch"
    )
    manifest = read_manifest(folder)
    check_manifest(manifest)
    rules = manifest.question_answering
    assert (rules.memory_sentences, rules.attention_output) == (0, "attention")
    assert [list(tensor.shape) for tensor in manifest.state] == [[4, 8, 8], [1, 8, 8], [1]]
    assert "fixed size" in (folder / "README.md").read_text()


def test_a_first_task_that_is_not_trained_on_is_refused(stories: Path) -> None:
    with pytest.raises(TrainingError, match=r"first_task: expected one of the tasks, got 16"):
        build(entity_config(stories, first_task=16))


def test_samples_show_stories_and_errors_are_of_every_task(stories: Path) -> None:
    for config in (entity_config(stories), reader_config(stories)):
        experiment = build(config)
        with torch.no_grad():
            assert "where is" in experiment.samples()
            errors = experiment.test()
        assert 0 <= errors["task 1"] <= 100


def test_a_reader_is_given_words_and_asked_at_question_marks(stories: Path) -> None:
    experiment = build(reader_config(stories))
    assert isinstance(experiment, ReaderExperiment)
    words, answers = experiment.train.batch(np.array([0]))
    text = [experiment.words.words[number] for number in words[:, 0].tolist()]
    asked = [number for number, answer in enumerate(answers[:, 0].tolist()) if answer != NOT_ASKED]

    assert text[:6][1:] == ["went", "to", "the", text[4], "."]
    assert asked == [len(text) - 1]
    assert text[-4:-2] == ["where", "is"]
    assert text[-1] == "?"


def test_a_gru_reader_learns_where_people_are(stories: Path) -> None:
    experiment = build(reader_config(stories, updates=160))
    losses = [experiment.loss(1).item()]
    steps(experiment, 1, 160)
    losses.append(experiment.loss(160).item())

    assert losses[0] > 1.2, "four places, all the same to it"
    assert losses[1] < 1.0


def test_an_ntm_reads_too_and_no_reader_is_exported(stories: Path) -> None:
    experiment = build(reader_config(stories, reader="ntm"))
    steps(experiment, 1, 1)

    with pytest.raises(TrainingError, match="got a reader"):
        experiment.graphs()
    with pytest.raises(TrainingError, match=r"reader: expected one of .*, got 'person'"):
        build(reader_config(stories, reader="person"))

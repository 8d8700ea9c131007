"""bAbI experiments end to end, on a few stories of our own: learning, resuming, exporting."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import Config
from training.errors import TrainingError
from training.experiment import build
from training.export import compare, to_onnx
from training.tasks.babi_graphs import modules
from training.tasks.babi_joint import JointExperiment
from training.tasks.babi_memory import MemoryExperiment
from training.train import train

PEOPLE, PLACES = ("Mary", "John", "Daniel"), ("garden", "kitchen", "office", "hallway")


def write_stories(folder: Path, task: int, part: str, count: int, seed: int) -> None:
    """Stories in which people move, each with the question where one of them is."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        where: dict[str, tuple[str, int]] = {}
        for number in range(1, 5):
            person, place = chance.choice(PEOPLE), chance.choice(PLACES)
            where[person] = place, number
            rows.append(f"{number} {person} went to the {place}.")
        person = chance.choice(sorted(where))
        rows.append(f"5 Where is {person}?\t{where[person][0]}\t{where[person][1]}")
    (folder / f"qa{task}_{part}.txt").write_text("\n".join(rows) + "\n")


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    """A folder with two tasks."""
    for task in (1, 2):
        write_stories(tmp_path, task, "train", 200, seed=task)
        write_stories(tmp_path, task, "valid", 40, seed=10 + task)
    return tmp_path


def memory_config(folder: Path, **network: object) -> Config:
    """A plain memory network on task 1."""
    return Config(
        name="tiny-memory",
        family="babi",
        updates=300,
        evaluate_every=100,
        task={"tasks": [1], "folder": str(folder), "memory": 5},
        network={"kind": "memory", "size": 12, "hops": 2, **network},
        recipe={"linear_updates": 60, "halve_every": 120, "learning_rate": 0.02},
    )


def joint_config(folder: Path, updates: int = 6) -> Config:
    """The joint network on both tasks, as small as it gets."""
    return Config(
        name="tiny-joint",
        family="babi",
        updates=updates,
        evaluate_every=3,
        average=0.5,
        task={"tasks": [1, 2], "folder": str(folder), "memory": 7, "jitter": 0.2},
        network={
            "kind": "joint",
            "size": 8,
            "heads": 2,
            "hops": 2,
            "residual_size": 6,
            "residual_hops": 1,
            "residual_memory": 3,
        },
        recipe={
            "first_task": 2,
            "first_updates": 2,
            "linear_updates": 1,
            "slots": 60,
            "warm_up": 2,
            "focus_from": 4,
            "seldom": [2],
            "seldom_share": 0.5,
        },
    )


@pytest.mark.parametrize("tying", ["adjacent", "layerwise"])
def test_a_memory_network_learns_where_people_are(stories: Path, tying: str) -> None:
    result = train(memory_config(stories, tying=tying), stories / "run")

    assert result["test"]["score"] < 10, "three quarters of the places are wrong by chance"


def test_the_recipe_starts_linear_and_halves_the_rate(stories: Path) -> None:
    experiment = build(memory_config(stories))
    assert isinstance(experiment, MemoryExperiment)
    seen = []
    for update in (1, 60, 61, 179, 180, 300):
        experiment.set_update(update)
        seen.append((experiment.memory_network.linear, experiment.optimizer.param_groups[0]["lr"]))

    assert seen == [(True, 0.02), (True, 0.02), (False, 0.02), (False, 0.02), (False, 0.01), (False, 0.005)]


def test_validation_measures_softmax_also_during_the_linear_start(stories: Path) -> None:
    experiment = build(memory_config(stories))
    assert isinstance(experiment, MemoryExperiment)
    expected = experiment.validate()

    experiment.set_update(1)

    assert experiment.validate() == expected


def test_options_that_do_not_exist_are_refused(stories: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"\[network\]: tying: expected one of adjacent, layerwise, single, got 'loose'"
    ):
        build(memory_config(stories, tying="loose"))
    with pytest.raises(TrainingError, match=r"network\.kind: expected one of joint, memory, .*got 'deep'"):
        build(memory_config(stories, kind="deep"))


COMPOSED: list[dict[str, object]] = [
    {"write": "gated", "gated": True, "match": "cosine", "head": "concat"},
    {"tying": "layerwise", "write": "add", "match": "network", "head": "network", "encoding": "bag", "temporal": False},
    {"tying": "single", "write": "add", "match": "bilinear", "hops": 1},
]


@pytest.mark.parametrize("options", COMPOSED, ids=str)
def test_every_option_is_exported_as_it_runs(stories: Path, options: dict[str, object]) -> None:
    graphs = build(memory_config(stories, **options)).graphs()

    with torch.no_grad():
        files = {entry.file: to_onnx(graphs, entry).SerializeToString() for entry in graphs.manifest.entries}
        difference = compare(graphs, files)

    assert difference < 1e-4
    assert not next(entry for entry in graphs.manifest.entries if entry.name == "ask").writes_state


@pytest.mark.parametrize("options", COMPOSED, ids=str)
def test_telling_a_memory_network_and_asking_answers_like_the_whole_story(
    stories: Path, options: dict[str, object]
) -> None:
    experiment = build(memory_config(stories, **options))
    entries = experiment.graphs().modules
    story, question = torch.randint(0, 9, (2, 4, 12)), torch.randint(1, 9, (2, 12))
    state = [torch.from_numpy(np.stack([value] * 2)) for value in experiment.graphs().initial.values()]

    for sentence in story.unbind(1):
        state = [*entries["tell"](sentence, *state)]
    probabilities, attention = entries["ask"](question, *state)
    expected, expected_attention = entries["answer"](story, question)

    assert torch.allclose(probabilities, expected, atol=1e-5)
    assert torch.allclose(attention[:, :, -4:], expected_attention, atol=1e-5)


def test_a_joint_network_learns_a_single_task_too(stories: Path) -> None:
    config = joint_config(stories)
    experiment = build(replace(config, task={**config.task, "tasks": [1]}))
    assert isinstance(experiment, JointExperiment)

    steps(experiment, 1, 3)

    assert np.isfinite(experiment.validate()["task 1"])


def test_the_residual_learns_first_and_alone(stories: Path) -> None:
    experiment = build(joint_config(stories))
    assert isinstance(experiment, JointExperiment)
    touched = []
    for update in (1, 3):
        experiment.set_update(update)
        experiment.network.zero_grad()
        experiment.loss(update).backward()  # type: ignore[no-untyped-call]
        touched.append({name.split(".")[0] for name, p in experiment.network.named_parameters() if p.grad is not None})

    assert touched == [{"residual"}, {"rewriting", "residual", "gate"}]


@pytest.mark.parametrize("interrupted", [1, 3, 4, 5])
def test_an_interrupted_joint_run_goes_on_with_the_same_bits(stories: Path, interrupted: int) -> None:
    """Once while the residual learns alone, once later: two orders of batches have to go on, one of which changes."""
    one, other = (build(joint_config(stories)) for _ in range(2))
    steps(one, 1, interrupted)
    other.network.load_state_dict(one.network.state_dict())
    other.optimizer.load_state_dict(copy.deepcopy(one.optimizer.state_dict()))
    other.load_state(one.state())
    other.generator.set_state(one.generator.get_state())

    steps(one, interrupted + 1, 6)
    steps(other, interrupted + 1, 6)

    for name, value in one.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name]), name


def steps(experiment: object, first: int, last: int) -> None:
    """Some updates, as the loop does them."""
    assert isinstance(experiment, JointExperiment)
    for update in range(first, last + 1):
        experiment.set_update(update)
        experiment.optimizer.zero_grad(set_to_none=True)
        experiment.loss(update).backward()  # type: ignore[no-untyped-call]
        experiment.clip()
        experiment.optimizer.step()


def test_the_exported_graphs_run_like_the_network(stories: Path) -> None:
    graphs = build(joint_config(stories)).graphs()

    with torch.no_grad():
        files = {entry.file: to_onnx(graphs, entry).SerializeToString() for entry in graphs.manifest.entries}
        difference = compare(graphs, files)

    assert difference < 1e-5


@pytest.mark.parametrize("sentences", [1, 2, 3, 6, 7])
def test_telling_and_asking_answers_like_the_whole_story(stories: Path, sentences: int) -> None:
    experiment = build(joint_config(stories))
    assert isinstance(experiment, JointExperiment)
    entries = modules(experiment.joint)
    story, question = torch.randint(0, 9, (1, sentences, 12)), torch.randint(1, 9, (1, 12))
    state = [torch.from_numpy(value).unsqueeze(0) for value in experiment.graphs().initial.values()]

    for sentence in story.unbind(1):
        state = [*entries["tell"](sentence, *state)]
    probabilities, attention = entries["ask"](question, *state)
    expected, expected_attention = entries["answer"](story, question)

    assert torch.allclose(probabilities, expected, atol=1e-5)
    assert torch.allclose(attention[:, :, -sentences:], expected_attention, atol=1e-5)
    assert not attention[:, :, :-sentences].any()


def test_questions_about_stories_of_all_lengths_share_a_batch(stories: Path) -> None:
    experiment = build(joint_config(stories))
    assert isinstance(experiment, JointExperiment)
    ask = modules(experiment.joint)["ask"]
    torch.manual_seed(4)
    question, memory, residual = torch.randint(1, 9, (5, 12)), torch.randn(5, 7, 8), torch.randn(5, 3, 12)
    length = torch.tensor([[0], [1], [4], [7], [30]])

    together = ask(question, memory, residual, length)

    for row in range(5):
        one = slice(row, row + 1)
        for batched, alone in zip(together, ask(question[one], memory[one], residual[one], length[one]), strict=True):
            assert torch.allclose(batched[one], alone, atol=1e-5)


def test_the_oldest_sentence_is_forgotten(stories: Path) -> None:
    experiment = build(joint_config(stories))
    assert isinstance(experiment, JointExperiment)
    entries = modules(experiment.joint)
    story, question = torch.randint(0, 9, (1, 9, 12)), torch.randint(1, 9, (1, 12))
    state = [torch.from_numpy(value).unsqueeze(0) for value in experiment.graphs().initial.values()]
    for sentence in story.unbind(1):
        state = [*entries["tell"](sentence, *state)]

    assert int(state[-1]) == 9
    assert torch.allclose(entries["ask"](question, *state)[0], entries["answer"](story[:, -7:], question)[0], atol=1e-5)


def test_samples_and_figures_show_stories(stories: Path) -> None:
    experiment = build(joint_config(stories))

    with torch.no_grad():
        assert "where is" in experiment.samples()
        assert experiment.figures()["attention.png"].startswith(b"\x89PNG")
    assert np.isfinite(list(experiment.test().values())).all()

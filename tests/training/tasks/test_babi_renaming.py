"""Stories with other names in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.tasks.babi_batches import Batch, Questions
from training.tasks.babi_data import BabiData, Task
from training.tasks.babi_entity_stories import NO_QUESTION, StoryBatch, WholeStories
from training.tasks.babi_renaming import SORTS, Renaming
from training.tasks.babi_stories import parse
from training.tasks.babi_words import Words

LINES = """\
1 Wolves are afraid of cats.
2 Gertrude is a wolf.
3 What is Gertrude afraid of?\tcat\t2 1
""".splitlines()
PATHS = """\
1 The office is north of the garden.
2 The garden is east of the kitchen.
3 How do you go from the kitchen to the office?\te,n\t1 2
""".splitlines()
STORIES = {15: parse(LINES, "file"), 19: parse(PATHS, "file")}
TEXT = """
wolves wolf cats cat mice mouse are afraid of emily gertrude jessica winona is a what
the office north garden east kitchen south west bathroom bedroom hallway how do you go from to
"""
WORDS = Words(
    ("", "<unknown>", *TEXT.split()),
    ("cat", "wolf", "mouse", "e,n", "n,e", "n,w", "w,n", "s,e", "e,s", "s,w", "w,s"),
)
QUESTIONS = Questions(STORIES, WORDS)
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}


def texts(batch: Batch, row: int) -> tuple[list[str], str, str]:
    """A question's story, itself and its answer."""

    def text(ids: torch.Tensor) -> str:
        return " ".join(WORDS.words[word] for word in ids if word)

    told = [text(batch.sentences[slot]) for slot in batch.memory[row][batch.present[row]]]
    return told, text(batch.questions[batch.question[row]]), WORDS.answers[batch.answer[row]]


@pytest.mark.parametrize("seed", range(8))
def test_a_story_keeps_its_sense(seed: int) -> None:
    batch = QUESTIONS.batch(np.array([0, 1]), 5)
    renamed = Renaming(WORDS).rename(batch, torch.Generator().manual_seed(seed))

    (afraid, who), question, answer = texts(renamed, 0)
    many, few = dict(zip(["wolves", "cats", "mice"], ["wolf", "cat", "mouse"], strict=True)), who.split()[-1]
    assert many[afraid.split()[0]] == few, f"seed {seed}"
    assert answer == many[afraid.split()[-1]], f"seed {seed}"
    assert question.split()[2] == who.split()[0], f"seed {seed}"

    (first, second), question, answer = texts(renamed, 1)
    assert (question.split()[-1], question.split()[-4]) == (first.split()[1], second.split()[-1]), f"seed {seed}"
    assert answer == f"{second.split()[3][0]},{first.split()[3][0]}", f"seed {seed}"
    assert OPPOSITE[first.split()[3]] != second.split()[3], f"seed {seed}: a corner stays a corner"


def test_names_do_change_and_the_batch_given_does_not() -> None:
    batch = QUESTIONS.batch(np.array([0, 1]), 5)
    before = texts(batch, 0)
    renaming, random = Renaming(WORDS), torch.Generator().manual_seed(1)

    seen = {texts(renaming.rename(batch, random), 0)[2] for _ in range(40)}

    assert seen == {"cat", "wolf", "mouse"}
    assert texts(batch, 0) == before


def test_a_question_whose_answer_would_be_no_class_keeps_its_names() -> None:
    words = Words(WORDS.words, ("cat", "e,n"))
    batch = Questions(STORIES, words).batch(np.array([0, 1]), 5)
    renaming, random = Renaming(words), torch.Generator().manual_seed(1)

    for _ in range(20):
        renamed = renaming.rename(batch, random)
        assert renamed.answer.tolist() == [0, 1]
        assert texts(renamed, 1)[0][0].split()[3] == "north"


def story_texts(batch: StoryBatch, row: int) -> tuple[list[str], list[str], list[str]]:
    """A whole story, its questions and their answers."""

    def texts_of(rows: torch.Tensor) -> list[str]:
        return [" ".join(WORDS.words[word] for word in batch.sentences[number] if word) for number in rows]

    answers = [WORDS.answers[answer] for answer in batch.answer[row] if answer != NO_QUESTION]
    return texts_of(batch.story[row]), texts_of(batch.questions[row]), answers


def test_whole_stories_are_renamed_as_their_questions_are() -> None:
    """The same draws give a story and its question the same names, whichever way they are kept."""
    whole, renaming = WholeStories(STORIES, WORDS), Renaming(WORDS)
    seen = set()

    for seed in range(20):
        stories = renaming.rename_stories(whole.batch(np.array([0, 1])), torch.Generator().manual_seed(seed))
        apart = renaming.rename(QUESTIONS.batch(np.array([0, 1]), 5), torch.Generator().manual_seed(seed))
        for row in (0, 1):
            told, question, answer = texts(apart, row)
            assert story_texts(stories, row) == (told, [question], [answer]), f"seed {seed}"
            seen.add(answer)

    assert len(seen) > 5


def test_a_story_of_whose_answers_one_would_be_no_class_keeps_its_names() -> None:
    words = Words(WORDS.words, ("cat", "e,n"))
    batch = WholeStories(STORIES, words).batch(np.array([0, 1]))

    for seed in range(20):
        renamed = Renaming(words).rename_stories(batch, torch.Generator().manual_seed(seed))
        assert renamed.answer.tolist() == [[0], [1]], f"seed {seed}"
        assert "north" in story_texts(renamed, 1)[0][0], f"seed {seed}"


def test_every_sort_is_of_words_that_its_tasks_know() -> None:
    data = BabiData(Task(size="1k", tasks=(4, 15, 16, 17, 19, 20)))
    known = set(data.words.words) | {part for answer in data.words.answers for part in answer.split(",")}

    for sort in SORTS:
        assert not [form for thing in sort.things for form in thing if form not in known]
        assert all(sorted(change) == list(range(len(sort.things))) for change in sort.changes())

"""Reading bAbI files: what they say, and what is said about files that break the format."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from training.errors import TrainingError
from training.tasks.babi_stories import DATA, Question, find_file, load, load_unseen, parse, read_stories

TWO_STORIES = """\
1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 Daniel took the apple and the milk.
5 What is Daniel carrying?\tapple,milk\t4
1 Lily is a swan.
2 What color is Lily?\twhite\t1
"""


def test_a_return_to_one_starts_a_story() -> None:
    stories = parse(TWO_STORIES.splitlines(), "file")

    assert [len(story.statements) for story in stories] == [3, 1]
    assert stories[0].statements[0] == ("mary", "moved", "to", "the", "bathroom")
    assert stories[1].questions == [Question(("what", "color", "is", "lily"), "white", 1, (0,))]


def test_supporting_ids_name_lines_and_become_statements() -> None:
    first, second = parse(TWO_STORIES.splitlines(), "file")[0].questions

    assert (first.after, first.supporting) == (2, (0,))
    assert (second.after, second.supporting) == (3, (2,)), "line 4 is the third statement"


def test_an_answer_of_several_words_is_one_class() -> None:
    assert parse(TWO_STORIES.splitlines(), "file")[0].questions[1].answer == "apple,milk"


@pytest.mark.parametrize("name", ["qa1_train.txt", "qa1_single-supporting-fact_train.txt.gz"])
def test_plain_and_gzipped_files_read_alike(tmp_path: Path, name: str) -> None:
    data = TWO_STORIES.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)

    assert read_stories(find_file(tmp_path, 1, "train")) == parse(TWO_STORIES.splitlines(), "file")


def test_a_task_is_not_taken_for_one_whose_number_begins_alike(tmp_path: Path) -> None:
    (tmp_path / "qa11_train.txt").write_text(TWO_STORIES)

    with pytest.raises(TrainingError, match=r"expected a file qa1_train\.txt or \.jsonl, .* got none"):
        find_file(tmp_path, 1, "train")


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (["Mary moved."], r"line 1: expected `ID text`, got 'Mary moved\.'"),
        (["1 "], r"line 1: expected `ID text`, got '1 '"),
        (["1 Mary moved.", ""], r"line 2: expected `ID text`, got ''"),
        (["2 Mary moved."], r"line 1: expected ID 1 or 1, got 2"),
        (["1 Mary moved.", "3 John went."], r"line 2: expected ID 2 or 1, got 3"),
        (["1 ..."], r"line 1: expected words, got '\.\.\.'"),
        (["1 Mary moved.", "2 Where is Mary?\tbathroom"], r"line 2: expected `question <TAB> answer <TAB> supporting"),
        (["1 Mary moved.", "2 Where is Mary?\t\t1"], r"line 2: expected `question <TAB> answer <TAB> supporting"),
        (["1 Mary moved.", "2 Where is Mary?\tout\t1\t1"], r"line 2: expected `question <TAB> answer <TAB> supporting"),
        (["1 Mary moved.", "2 Where is Mary?\tout\t2"], r"line 2: expected supporting IDs of earlier .*, got '2'"),
        (["1 Mary moved.", "2 Where is Mary?\tout\tone"], r"line 2: expected supporting IDs of earlier .*, got 'one'"),
    ],
)
def test_a_row_that_breaks_the_format_is_named(tmp_path: Path, rows: list[str], complaint: str) -> None:
    path = tmp_path / "qa1_train.txt"
    path.write_text("\n".join(rows) + "\n")

    with pytest.raises(TrainingError, match=complaint) as caught:
        read_stories(path)
    assert str(caught.value).startswith(str(path))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "qa1_train.txt").touch()

    with pytest.raises(TrainingError, match="expected at least one story, got an empty file"):
        read_stories(tmp_path / "qa1_train.txt")


def test_a_missing_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nowhere: expected a folder of stories, got none"):
        find_file(tmp_path / "nowhere", 1, "train")
    with pytest.raises(TrainingError, match=r"gone\.txt: expected a file of stories, got none"):
        read_stories(tmp_path / "gone.txt")


@pytest.mark.parametrize(("name", "data"), [("a.txt.gz", b"not gzip"), ("a.txt", b"1 M\xffry moved.")])
def test_what_is_no_text_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)

    with pytest.raises(TrainingError, match="expected UTF-8 text"):
        read_stories(tmp_path / name)


def test_the_shipped_files_have_the_published_number_of_questions() -> None:
    stories = read_stories(find_file(DATA / "en", 1, "train"))

    assert len(stories) == 200
    assert sum(len(story.questions) for story in stories) == 1000


def test_task_3_holds_out_whole_stories() -> None:
    train, valid = load(3, "train"), load(3, "valid")

    assert (len(train), len(valid)) == (345, 40)
    assert not [story for story in valid if story in train]


def test_a_task_that_is_not_there_is_refused() -> None:
    with pytest.raises(TrainingError, match="expected numbers from 1 to 20, got 21"):
        load(21, "train")


def test_the_1k_set_is_split_by_story() -> None:
    train, valid = (sum(len(story.questions) for story in load(1, part, "1k")) for part in ("train", "valid"))

    assert (train, valid) == (900, 100)
    with pytest.raises(TrainingError, match="size: expected one of 10k, 1k, got '2k'"):
        load(1, "train", "2k")


@pytest.mark.parametrize("task", [3, 4])
def test_what_measures_1k_is_not_in_it(task: int) -> None:
    unseen = load_unseen(task)

    assert sum(len(story.questions) for story in unseen) > 750
    for part in ("train", "valid"):
        assert not [story for story in load(task, part, "1k") if story in unseen]

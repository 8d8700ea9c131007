"""Stories as JSON Lines: what they say, and what is said about lines that break the format."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from training.config import load_config
from training.errors import TrainingError
from training.tasks.babi_stories import Question, find_file, read_stories
from training.tasks.json_stories import parse_json
from training.train import train

ROOT = Path(__file__).parents[3]

STORY = {
    "sentences": ["Ann has a key.", "Bob has a map.", "Ann gave the key to Bob."],
    "questions": [
        {"question": "Who has the key?", "answer": "Ann", "after": 1, "supporting": [0]},
        {"question": "What does Bob have?", "answer": "key,map"},
    ],
}


def test_a_line_is_a_story() -> None:
    (story,) = parse_json([json.dumps(STORY)], "file")

    assert story.statements[1] == ("bob", "has", "a", "map")
    assert story.questions == [
        Question(("who", "has", "the", "key"), "ann", 1, (0,)),
        Question(("what", "does", "bob", "have"), "key,map", 3, ()),
    ]


@pytest.mark.parametrize("name", ["train.jsonl", "train.jsonl.gz", "qa1_train.jsonl", "qa1_keys_train.jsonl.gz"])
def test_plain_and_gzipped_files_are_found_and_read(tmp_path: Path, name: str) -> None:
    data = (json.dumps(STORY) + "\n").encode() * 2
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)

    assert len(read_stories(find_file(tmp_path, 1, "train"))) == 2


def changed(**fields: Any) -> str:
    """A story with other fields."""
    return json.dumps({**STORY, **fields})


def asked(**fields: Any) -> str:
    """A story of three sentences with one question."""
    return changed(questions=[{"question": "Where?", "answer": "here", **fields}])


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("no JSON", r"expected a story as a JSON object, got 'no JSON'"),
        ("", r"expected a story as a JSON object, got ''"),
        ("[1]", r"expected an object with the fields sentences, questions, got \[1\]"),
        (changed(title="Keys"), r"unknown field 'title'; expected sentences, questions"),
        ('{"sentences": []}', r"field 'questions' is missing"),
        (changed(sentences="Ann."), r"sentences: expected a list, got 'Ann\.'"),
        (changed(sentences=[1]), r"sentence 0: expected a string, got 1"),
        (changed(sentences=["..."]), r"sentence 0: expected words, got '\.\.\.'"),
        (changed(sentences=["so " * 13]), r"sentence 0: expected a sentence of at most 12 words, got 13"),
        (asked(answer=""), r"question 0: answer: expected a word or words, got ''"),
        (asked(answer=3), r"question 0: answer: expected a string, got 3"),
        (asked(after=4), r"question 0: after: expected a number from 0 to 3 \(the sentences told\), got 4"),
        (asked(after=True), r"question 0: after: expected a whole number, got True"),
        (asked(supporting=[3]), r"question 0: supporting: expected numbers of .* from 0 to 2, got 3"),
        (asked(supporting=[1], after=1), r"supporting: expected numbers of .* from 0 to 0, got 1"),
        (asked(supporting=[0], after=0), r"supporting: expected none \(nothing told\), got 0"),
        (asked(supporting=["0"]), r"supporting: expected numbers of .*, got '0'"),
        (asked(hint=1), r"question 0: unknown field 'hint'; expected .* supporting \(optional\)"),
    ],
)
def test_a_line_that_breaks_the_format_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(STORY) + "\n" + line + "\n")

    with pytest.raises(TrainingError, match=complaint) as caught:
        read_stories(path)
    assert str(caught.value).startswith(f"{path}, line 2")


def test_the_example_of_the_documentation_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = load_config(Path("training/configs/babi-own-stories.toml"), ["updates=400"])

    result = train(config, tmp_path / "run")

    assert result["test"]["score"] < 15, "guessing one of three people is wrong two times in three"
    assert result["test"]["support_found"] > 85


def test_the_story_in_the_documentation_is_one() -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    story = text[text.index('{"sentences"') :].split("```")[0]

    (parsed,) = parse_json([story.replace("\n", "")], "docs/training.md")

    assert parsed.questions[0].supporting == (1,)

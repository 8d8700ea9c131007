"""The twenty bAbI tasks (Weston et al. 2015, arXiv 1502.05698) as stories of statements and questions.

A line is `ID statement` or `ID question? <TAB> answer <TAB> supporting IDs`; an ID of 1 starts a new story. IDs number
statements and questions alike, so a supporting ID names a line of the story and not the n-th statement.
"""

from __future__ import annotations

import functools
import gzip
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tapehead.bundle.text import split_words

from ..errors import TrainingError

DATA = Path(__file__).parents[1] / "datasets" / "babi" / "tasks_1-20_v1-2"
TASKS = tuple(range(1, 21))
TASK_3_HELD_OUT = 40  # stories of 5 questions


@dataclass(frozen=True)
class Question:
    """A question, asked after the first `after` statements of its story."""

    words: tuple[str, ...]
    answer: str  # one class, even where it lists several words: "apple,milk"
    after: int
    supporting: tuple[int, ...]  # which statements decide it, counted from 0


@dataclass
class Story:
    """Statements in the order told, and the questions asked between them."""

    statements: list[tuple[str, ...]] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)


@functools.cache  # a few thousand sentences tell all stories
def split(text: str) -> tuple[str, ...]:
    """Text as words, by the rules that a served model applies."""
    return tuple(split_words(text))


def find_file(folder: Path, task: int, part: str) -> Path:
    """The file of a task: `qa3_train.txt` or `qa3_any-name_train.txt`, plain or gzipped."""
    if not folder.is_dir():
        raise TrainingError(f"{folder}: expected a folder of bAbI files, got none")
    name = re.compile(rf"qa{task}_(?:.*_)?{part}\.txt(?:\.gz)?")
    found = sorted(path for path in folder.iterdir() if name.fullmatch(path.name))
    if not found:
        raise TrainingError(f"{folder}: expected a file qa{task}_{part}.txt or qa{task}_{part}.txt.gz, got none")
    return found[0]


@functools.cache  # the vocabulary and the data of a task come from the same files
def read_stories(path: Path) -> list[Story]:
    """Every story of one file, plain or gzipped.

    Raises:
        TrainingError: the file is missing, empty or not text, or a row breaks the format.
    """
    if not path.is_file():
        raise TrainingError(f"{path}: expected a file of bAbI stories, got none")
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as reason:
        raise TrainingError(f"{path}: expected UTF-8 text, gzipped where named .gz, got: {reason}") from None
    stories = parse(text.splitlines(), str(path))
    if not stories:
        raise TrainingError(f"{path}: expected at least one story, got an empty file")
    return stories


def parse(lines: Iterable[str], where: str) -> list[Story]:
    """Stories out of lines; `where` names the file in errors."""
    stories: list[Story] = []
    statement_of: dict[int, int] = {}  # line ID -> statement, within the current story
    previous = 0
    for number, line in enumerate(lines, start=1):
        place = f"{where}, line {number}"
        head, _, rest = line.partition(" ")
        if not (head.isascii() and head.isdigit() and rest.strip()):
            raise TrainingError(f"{place}: expected `ID text`, got {line!r}")
        if (identity := int(head)) == 1:
            stories.append(Story())
            statement_of = {}
        elif not stories or identity != previous + 1:
            raise TrainingError(f"{place}: expected ID {previous + 1} or 1, got {identity}")
        previous = identity
        if "\t" in rest:
            stories[-1].questions.append(_question(rest, len(stories[-1].statements), statement_of, place))
        else:
            statement_of[identity] = len(stories[-1].statements)
            stories[-1].statements.append(_words(rest, place))
    return stories


def _question(text: str, after: int, statement_of: dict[int, int], place: str) -> Question:
    fields = text.split("\t")
    if len(fields) != 3 or not fields[1].strip():
        raise TrainingError(f"{place}: expected `question <TAB> answer <TAB> supporting IDs`, got {text!r}")
    supporting = []
    for identity in fields[2].split():
        if not identity.isdigit() or int(identity) not in statement_of:
            raise TrainingError(f"{place}: expected supporting IDs of earlier statements, got {identity!r}")
        supporting.append(statement_of[int(identity)])
    return Question(_words(fields[0], place), fields[1].strip().lower(), after, tuple(supporting))


def _words(text: str, place: str) -> tuple[str, ...]:
    if not (words := split(text)):
        raise TrainingError(f"{place}: expected words, got {text!r}")
    return words


def load(task: int, part: str) -> list[Story]:
    """The 10k stories of a task, `part` being train or valid; the same whole stories are held out in every run.

    Task 3 has no complete train file. Of the 385 stories there are, the last 40 of its valid file are held out.
    """
    if task not in TASKS:
        raise TrainingError(f"[task] tasks: expected numbers from 1 to 20, got {task}")
    if task != 3:
        return read_stories(find_file(DATA / "en-valid-10k", task, part))
    held_out = read_stories(find_file(DATA / "en-valid-10k", task, "valid"))[-TASK_3_HELD_OUT:]
    if part == "valid":
        return held_out
    stories = read_stories(find_file(DATA / "en-10k-partial", task, "train"))
    return [story for story in stories if story not in held_out]


def load_own(folder: Path, task: int, part: str) -> list[Story]:
    """The stories of a task out of files of one's own."""
    return read_stories(find_file(folder, task, part))

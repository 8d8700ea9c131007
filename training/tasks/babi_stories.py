"""The twenty bAbI tasks (Weston et al. 2015, arXiv 1502.05698) as stories of statements and questions.

A line is `ID statement` or `ID question? <TAB> answer <TAB> supporting IDs`; an ID of 1 starts a new story. IDs number
statements and questions alike, so a supporting ID names a line of the story and not the n-th statement.
"""

from __future__ import annotations

import functools
import gzip
import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import TrainingError
from .json_stories import parse_json
from .story import Question, Story, to_words

__all__ = [
    "DATA",
    "TASKS",
    "Question",
    "Story",
    "find_file",
    "load",
    "load_own",
    "load_unseen",
    "parse",
    "read_stories",
]

DATA = Path(__file__).parents[1] / "datasets" / "babi" / "tasks_1-20_v1-2"
TASKS = tuple(range(1, 21))
SIZES = ("10k", "1k")
TASK_3_HELD_OUT = 40  # stories of 5 questions


def find_file(folder: Path, task: int, part: str) -> Path:
    """The file of a task, plain or gzipped: `qa3_train.txt`, `qa3_any-name_train.txt`, or `.jsonl` in place of `.txt`.

    Task 1 may also be `train.jsonl`: who has one task of one's own need not number it.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder}: expected a folder of stories, got none")
    number = rf"(?:qa{task}_(?:.*_)?)"
    name = re.compile(rf"{number}{'?' if task == 1 else ''}{part}\.(?:txt|jsonl)(?:\.gz)?")
    found = sorted(path for path in folder.iterdir() if name.fullmatch(path.name))
    if not found:
        raise TrainingError(f"{folder}: expected a file qa{task}_{part}.txt or .jsonl, or one ending in .gz, got none")
    return found[0]


@functools.cache  # the vocabulary and the data of a task come from the same files
def read_stories(path: Path) -> list[Story]:
    """Every story of one file, plain or gzipped.

    Raises:
        TrainingError: the file is missing, empty or not text, or a row breaks the format.
    """
    if not path.is_file():
        raise TrainingError(f"{path}: expected a file of stories, got none")
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as reason:
        raise TrainingError(f"{path}: expected UTF-8 text, gzipped where named .gz, got: {reason}") from None
    parts = parse_json if ".jsonl" in path.suffixes else parse
    stories = parts(text.splitlines(), str(path))
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
            stories[-1].statements.append(to_words(rest, place))
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
    return Question(to_words(fields[0], place), fields[1].strip().lower(), after, tuple(supporting))


def load(task: int, part: str, size: str = "10k") -> list[Story]:
    """The stories of a task, `part` being train or valid; the same whole stories are held out in every run.

    `size` is 10k or 1k, the number of questions before some are held out. Task 3 has no complete 10k file: of the 385
    stories there are, the last 40 of its valid file are held out.
    """
    if task not in TASKS:
        raise TrainingError(f"[task] tasks: expected numbers from 1 to 20, got {task}")
    if size not in SIZES:
        raise TrainingError(f"[task] size: expected one of {', '.join(SIZES)}, got {size!r}")
    if size == "1k":
        return read_stories(find_file(DATA / "en-valid", task, part))
    if task != 3:
        return read_stories(find_file(DATA / "en-valid-10k", task, part))
    held_out = read_stories(find_file(DATA / "en-valid-10k", task, "valid"))[-TASK_3_HELD_OUT:]
    if part == "valid":
        return held_out
    stories = read_stories(find_file(DATA / "en-10k-partial", task, "train"))
    return [story for story in stories if story not in held_out]


def load_unseen(task: int) -> list[Story]:
    """About 1,000 questions of a task that are not in its 1k set: those held out of the 10k set.

    They measure what was trained on 1k far more finely than the 100 held out of that.
    """
    known = {repr(story) for story in read_stories(find_file(DATA / "en", task, "train"))}
    stories = read_stories(find_file(DATA / "en-valid-10k", task, "valid"))
    return [story for story in stories if repr(story) not in known]


def load_own(folder: Path, task: int, part: str) -> list[Story]:
    """The stories of a task out of files of one's own."""
    return read_stories(find_file(folder, task, part))

"""Stories of one's own as JSON Lines: one story a line.

    {"sentences": ["Ann has a key.", "Bob has a map."],
     "questions": [{"question": "Who has the map?", "answer": "Bob", "supporting": [1]}]}

A question is asked once all sentences are told, or after the first `after` of them. `supporting` (optional) names the
sentences that decide it, counted from 0; they only measure where the network looked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ..errors import TrainingError
from .story import Question, Story, to_words


def parse_json(lines: Iterable[str], where: str) -> list[Story]:
    """Stories out of lines; `where` names the file in errors.

    Raises:
        TrainingError: a line breaks the format; the message names line, field, what was expected and what is there.
    """
    return [_story(line, f"{where}, line {number}") for number, line in enumerate(lines, start=1)]


def _story(line: str, place: str) -> Story:
    try:
        table = json.loads(line)
    except json.JSONDecodeError as reason:
        raise TrainingError(f"{place}: expected a story as a JSON object, got {line!r} ({reason})") from None
    _check_fields(table, {"sentences": list, "questions": list}, (), place)
    sentences = [_text(text, f"{place}: sentence {i}") for i, text in enumerate(table["sentences"])]
    questions = [
        _question(question, len(sentences), f"{place}: question {i}") for i, question in enumerate(table["questions"])
    ]
    return Story(sentences, questions)


def _question(table: Any, told: int, place: str) -> Question:
    fields = {"question": str, "answer": str, "after": int, "supporting": list}
    _check_fields(table, fields, ("after", "supporting"), place)
    if not (answer := table["answer"].strip().lower()):
        raise TrainingError(f"{place}: answer: expected a word or words, got {table['answer']!r}")
    after = table.get("after", told)
    if not 0 <= after <= told:
        raise TrainingError(f"{place}: after: expected a number from 0 to {told} (the sentences told), got {after}")
    supporting = table.get("supporting", [])
    for number in supporting:
        if type(number) is not int or not 0 <= number < after:
            expected = f"numbers of sentences told before it, from 0 to {after - 1}" if after else "none (nothing told)"
            raise TrainingError(f"{place}: supporting: expected {expected}, got {number!r}")
    return Question(_text(table["question"], place), answer, after, tuple(sorted(set(supporting))))


def _check_fields(table: Any, fields: dict[str, type], optional: tuple[str, ...], place: str) -> None:
    expected = ", ".join(f"{name} (optional)" if name in optional else name for name in fields)
    if not isinstance(table, dict):
        raise TrainingError(f"{place}: expected an object with the fields {expected}, got {table!r}")
    for name in table:
        if name not in fields:
            raise TrainingError(f"{place}: unknown field {name!r}; expected {expected}")
    for name, kind in fields.items():
        if name not in table:
            if name not in optional:
                raise TrainingError(f"{place}: field {name!r} is missing; expected {expected}")
        elif type(table[name]) is not kind:
            names = {list: "a list", str: "a string", int: "a whole number"}
            raise TrainingError(f"{place}: {name}: expected {names[kind]}, got {table[name]!r}")


def _text(text: Any, place: str) -> tuple[str, ...]:
    if not isinstance(text, str):
        raise TrainingError(f"{place}: expected a string, got {text!r}")
    return to_words(text, place)

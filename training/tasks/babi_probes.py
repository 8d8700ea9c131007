"""Calls that the exporter checks a question-answering bundle with."""

from __future__ import annotations

import numpy as np

from ..experiment import Array, Call
from .babi_data import BabiData
from .babi_words import SENTENCE_WORDS

LONGEST_PROBE = 20  # sentences; every probe is stored in the bundle with all it gave


def probes(data: BabiData, per_task: int) -> list[list[Call]]:
    """Real questions: the story told sentence by sentence, asked, and then asked once more with the story given whole.

    The last one tells more sentences than the residual network keeps.
    """
    asked = data.measuring
    lengths = asked.lengths(data.task.memory)
    chosen = []
    for task in data.task.tasks:
        fitting = np.flatnonzero((asked.task == task) & (lengths >= 2) & (lengths <= LONGEST_PROBE))
        chosen += [int(number) for number in fitting[:per_task]]
    longer = np.flatnonzero((lengths > LONGEST_PROBE) & (lengths <= 2 * LONGEST_PROBE))
    chosen += [int(number) for number in longer[:1]]
    runs: list[list[Call]] = []
    for number in chosen:
        story = asked.sentences[asked.told[asked.first[number] : asked.end[number]]]
        runs.append(calls(story, asked.sentences[asked.question[number]]))
    return runs


def calls(story: Array, question: Array) -> list[Call]:
    """Tells a story [sentences, words], asks, and answers it whole."""
    told: list[Call] = [("tell", {"sentence": sentence}) for sentence in story]
    return [*told, ("ask", {"question": question}), ("answer", {"story": story, "question": question})]


def checks(words: int, seed: int = 7) -> list[list[Call]]:
    """Random words: stories of many lengths, one longer than any memory, and a question before anything was told."""
    random = np.random.default_rng(seed)
    runs: list[list[Call]] = [[("ask", {"question": random.integers(1, words, SENTENCE_WORDS)})]]
    for sentences in (1, 2, 19, 20, 21, 60, 129, 130, 140):
        story = random.integers(0, words, (sentences, SENTENCE_WORDS))
        runs.append(calls(story, random.integers(1, words, SENTENCE_WORDS)))
    return runs

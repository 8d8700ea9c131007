"""Stories that are told while servers die; each sentence must become part of its story exactly once."""

from __future__ import annotations

import asyncio
import random

import numpy as np

import tapehead
from tapehead import errors
from tapehead.aio import Client, Conversation

from .workload import passes

MODEL = "babi-qa"
PEOPLE, PLACES = ("mary", "john", "daniel", "sandra"), ("garden", "kitchen", "office", "hallway", "bathroom")


class Teller:
    """One program that tells one story, a sentence or a few at a time, to any replica."""

    def __init__(self, name: str, clients: list[Client], seed: str, over: asyncio.Event) -> None:
        self.session_id = name
        self.sentences: list[str] = []
        self.violations: list[str] = []
        self._clients = clients
        self._chance = random.Random(seed)
        self._over = over

    async def run(self) -> None:
        """Tells until it is over, or until something cannot be explained by a dying server."""
        story: Conversation | None = None
        while not self._over.is_set():
            new = [
                f"{self._chance.choice(PEOPLE)} went to the {self._chance.choice(PLACES)}"
                for _ in range(self._chance.choice((1, 1, 3)))
            ]
            told = len(self.sentences)
            self.sentences += new
            while True:
                try:
                    if story is None:
                        story = await self._chance.choice(self._clients).conversation(MODEL, self.session_id)
                    story.told_count = told  # what is not known to be told is told again, under the same numbers
                    await story.tell(*new)
                    break
                except errors.SessionExists:  # an earlier try had reached the store
                    continue
                except errors.TapeheadError as error:
                    story = None
                    if not passes(error):
                        self.violations.append(f"{self.session_id}: {type(error).__name__}: {error}")
                        return
            await asyncio.sleep(self._chance.random() * 0.05)


async def asked(client: Client, story_id: str) -> tuple[int, list[tuple[str, float]], dict[str, bytes]]:
    """How long a story is, what is answered about it, and its state."""
    story = await client.conversation(MODEL, story_id)
    answers = [await story.ask(f"where is {person}?") for person in PEOPLE]
    state = await client.sessions.read_state(story_id)
    said = [(answer.text, answer.ranked[0].probability) for answer in answers]
    return story.told_count, said, bits(state)


def bits(state: tapehead.State) -> dict[str, bytes]:
    return {name: np.ascontiguousarray(tensor).tobytes() for name, tensor in state.tensors.items()}


async def judge(teller: Teller, disturbed: Client, quiet: Client) -> list[str]:
    """Compares a story with one that was told without a pause, elsewhere."""
    if not teller.sentences or teller.violations:
        return teller.violations
    told = await quiet.conversation(MODEL, teller.session_id)
    await told.tell(*teller.sentences)
    if await asked(quiet, teller.session_id) != await asked(disturbed, teller.session_id):
        return [f"{teller.session_id}: other answers, another state, or another number of sentences"]
    return []

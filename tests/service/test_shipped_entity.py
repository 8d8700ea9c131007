"""The shipped network with a memory of fixed size, in a session that goes on and on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from service.hosting.repository import load_model
from service.sessions.hashing import tell_hash
from service.sessions.lifecycle import CreateSpec
from service.sessions.messages import StepMessage
from service.store.base import Key
from tests.service.fakes import OWNER, Server, memory_server, serving

FOLDER = Path(__file__).parents[2] / "models" / "babi-qa-entity" / "1"
KEY = Key(OWNER, "long")
PEOPLE, PLACES = ("Mary", "John", "Sandra"), ("garden", "office", "hallway", "bathroom", "bedroom")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = memory_server(load_model(FOLDER, max_batch=4))
    async with serving(server):
        await server.lifecycle.create(OWNER, CreateSpec("long", "babi-qa-entity"))
        yield server


async def tell(server: Server, step: int, *sentences: str) -> None:
    model = server.repository.get("babi-qa-entity", 1)
    ids = np.stack([model.vocabulary.encode(sentence).ids for sentence in sentences])
    message = StepMessage(step, len(sentences), {"sentence": ids}, (), tell_hash(sentences), entry="tell")
    await server.calls.step(KEY, None, message, "c")


async def ask(server: Server, question: str) -> str:
    model = server.repository.get("babi-qa-entity", 1)
    asked = await server.calls.ask_session(KEY, None, model.vocabulary.encode(question).ids)
    return model.manifest.question_answering.answers[int(asked.outputs["probabilities"].argmax())]


async def test_its_state_does_not_grow_and_its_answers_stay_right(server: Server) -> None:
    await tell(server, 1, "Daniel went to the kitchen.")
    size = (await server.live.fetch(KEY)).head.state_bytes
    where: dict[str, str] = {}
    random = np.random.default_rng(11)
    for first in range(2, 302, 50):
        moves = [(str(random.choice(PEOPLE)), str(random.choice(PLACES))) for _ in range(50)]
        where.update(moves)
        await tell(server, first, *(f"{person} went to the {place}." for person, place in moves))

        assert {person: await ask(server, f"Where is {person}?") for person in where} == where

    assert (await server.live.fetch(KEY)).head.state_bytes == size
    assert (await server.live.fetch(KEY)).told == 301


async def test_a_story_may_be_asked_whole(server: Server) -> None:
    model = server.repository.get("babi-qa-entity", 1)
    story = np.stack(
        [model.vocabulary.encode(text).ids for text in ("John took the milk.", "John went to the office.")]
    )

    asked = await server.calls.ask_story(model, story, model.vocabulary.encode("Where is the milk?").ids)

    assert model.manifest.question_answering.answers[int(asked.outputs["probabilities"].argmax())] == "office"
    assert asked.outputs["attention"].shape == (4, 12)  # hops, and matrices: it keeps no sentence to point at
    np.testing.assert_allclose(asked.outputs["attention"].sum(-1), 1, rtol=1e-5)

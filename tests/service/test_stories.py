"""Stories that grow in sessions, with a small model that really answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from service.errors import InvalidField, OverCapacity, StepGap, TooLong
from service.hosting.repository import load_model
from service.sessions.hashing import tell_hash
from service.sessions.lifecycle import CreateSpec
from service.sessions.messages import Asked, StepMessage
from service.store.base import Key
from tests.qa_bundles import QA_ANSWERS, QA_MEMORY_SENTENCES, qa_ids, write_tiny_qa
from tests.service.fakes import OWNER, Server, memory_server, serving

KEY = Key(OWNER, "s")


@pytest.fixture(params=["forgets", "refuses", "absorbs"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    options = {"forget_oldest": request.param == "forgets", "absorb": request.param == "absorbs"}
    server = memory_server(load_model(write_tiny_qa(tmp_path, **options)))
    async with serving(server):
        await server.lifecycle.create(OWNER, CreateSpec("s", "tiny-qa", keep_every=1))
        yield server


async def tell(server: Server, step: int, *sentences: str) -> None:
    ids = np.stack([qa_ids(sentence) for sentence in sentences])
    message = StepMessage(step, len(sentences), {"sentence": ids}, (), tell_hash(sentences), entry="tell")
    await server.calls.step(KEY, None, message, "c")


async def ask(server: Server, question: str, minimum_step: int = 0) -> Asked:
    return await server.calls.ask_session(KEY, None, qa_ids(question), minimum_step=minimum_step)


def text(asked: Asked) -> str:
    return QA_ANSWERS[int(asked.outputs["probabilities"].argmax())]


async def test_a_question_sees_what_was_told_before_it_and_changes_nothing(server: Server) -> None:
    await tell(server, 1, "mary went to the garden", "john went to the kitchen")
    first = await ask(server, "where is mary")
    await tell(server, 3, "mary went to the office")
    second = await ask(server, "where is mary")

    assert (text(first), first.step, first.told) == ("garden", 2, 2)
    assert (text(second), second.step, second.told) == ("office", 3, 3)


async def test_nothing_can_be_asked_of_an_empty_story(server: Server) -> None:
    with pytest.raises(InvalidField):
        await ask(server, "where is mary")


async def test_a_question_may_ask_for_a_step(server: Server) -> None:
    await tell(server, 1, "mary went to the garden")
    with pytest.raises(StepGap):
        await ask(server, "where is mary", minimum_step=2)


@pytest.mark.parametrize("server", ["refuses"], indirect=True)
async def test_a_model_that_does_not_forget_is_told_no_more_than_it_remembers(server: Server) -> None:
    story = ["mary went to the garden"] * QA_MEMORY_SENTENCES
    await tell(server, 1, *story)
    with pytest.raises(TooLong):
        await tell(server, len(story) + 1, "john went to the kitchen")

    await server.calls.rewind(KEY, None, len(story) + 1, 0, "c")
    await tell(server, len(story) + 2, "john went to the kitchen")  # what was rewound no longer fills the memory
    assert text(await ask(server, "where is john")) == "kitchen"


@pytest.mark.parametrize("server", ["forgets"], indirect=True)
async def test_a_model_that_forgets_says_how_much_it_was_told(server: Server) -> None:
    story = ["mary went to the garden"] * (QA_MEMORY_SENTENCES + 3)
    await tell(server, 1, *story)

    assert (await ask(server, "where is mary")).told == QA_MEMORY_SENTENCES + 3


@pytest.mark.parametrize("server", ["absorbs"], indirect=True)
async def test_a_memory_that_absorbs_is_told_any_number_of_sentences_and_does_not_grow(server: Server) -> None:
    await tell(server, 1, "mary went to the garden")
    size = (await server.live.fetch(KEY)).head.state_bytes
    for step in range(2, 302, 50):
        await tell(server, step, *["john went to the kitchen", "mary went to the office"] * 25)
    asked = await ask(server, "where is mary")

    assert (text(asked), asked.told) == ("office", 301)
    assert (await server.live.fetch(KEY)).head.state_bytes == size


async def test_a_question_that_waits_while_its_session_leaves_memory_is_not_answered_from_anothers_slot(
    server: Server,
) -> None:
    await tell(server, 1, "mary went to the garden")
    live = server.live.peek(KEY)
    assert live is not None
    question = asyncio.create_task(ask(server, "where is mary"))
    while server.engine.statistics().waiting_steps == 0:  # noqa: ASYNC110  # turns of the loop are what is waited for
        await asyncio.sleep(0)
    live.drop(OverCapacity("sessions in memory", 1, retry_after=0.1))
    other = server.live.peek(KEY)
    assert other is None
    live.slots.write(live.slots.take(), [np.full_like(a, 9) for a in (*_rows(server),)])

    assert text(await question) == "garden"


def _rows(server: Server) -> list[np.ndarray]:
    return list(server.repository.get("tiny-qa").initial_state.values())

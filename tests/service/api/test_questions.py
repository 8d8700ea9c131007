"""Telling and asking."""

from __future__ import annotations

import grpc
import grpc.aio
import numpy as np
import pytest

from service.hosting.model import Model
from service.sessions.messages import Asked
from tapehead.v1 import question_service_pb2 as pb
from tapehead.v1.manifest_pb2 import QuestionAnswering
from tests.service.api.conftest import Served, info_of
from tests.service.api.fakes import INCARNATION, SUM, question_model

ABSORBS = question_model(
    story_overflow=QuestionAnswering.STORY_OVERFLOW_ABSORB,
    attention_columns=QuestionAnswering.ATTENTION_COLUMNS_SLOTS,
)
STORY = ["Mary went to the kitchen.", "Mary went to the garden."]
FORGETS = question_model(
    story_overflow=QuestionAnswering.STORY_OVERFLOW_FORGET_OLDEST, unknown_words=QuestionAnswering.UNKNOWN_WORDS_ALLOW
)


def ask(sentences: list[str] = STORY, question: str = "Where is Mary?", **fields: object) -> pb.AskRequest:
    story = pb.Story(sentences=sentences)
    return pb.AskRequest(model_id="qa", story=story, question=question, **fields)  # type: ignore[arg-type]


def asked(memory: int, *, step: int = 0, told: int = 0) -> Asked:
    attention = np.arange(2 * memory, dtype=np.float32).reshape(2, memory)
    return Asked({"probabilities": np.array([0.7, 0.1, 0.2], np.float32), "attention": attention}, step, told)


async def reason_of(call: grpc.aio.UnaryUnaryCall) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return info_of(caught.value).reason


@pytest.fixture
def models(request: pytest.FixtureRequest) -> tuple[Model, ...]:
    return SUM, getattr(request, "param", question_model())


async def test_answers_are_ranked_and_hops_name_the_sentences(served: Served) -> None:
    served.calls.asked = asked(2)
    response = await served.questions.Ask(ask(answer_count=2))
    _, story, question = served.calls.questions[0]

    assert [(a.text, round(a.probability, 5)) for a in response.answers] == [("garden", 0.7), ("office", 0.2)]
    assert [list(hop.weights) for hop in response.hops] == [[0, 1], [2, 3]]
    assert response.attention_columns == QuestionAnswering.ATTENTION_COLUMNS_SENTENCES
    assert (response.model_id, response.model_version, response.step) == ("qa", 1, 0)
    assert np.asarray(story).tolist() == [[1, 2, 3, 4, 5, 0], [1, 2, 3, 4, 6, 0]]
    assert np.asarray(question).tolist() == [7, 8, 1, 0, 0, 0]


async def test_three_answers_unless_asked_otherwise(served: Served) -> None:
    served.calls.asked = asked(2)

    assert len((await served.questions.Ask(ask())).answers) == 3


async def test_an_unknown_word_is_refused_with_the_nearest(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.questions.Ask(ask(["Mary went to the kitchn."]))
    info = info_of(caught.value)

    assert (info.reason, info.metadata["word"], info.metadata["nearest"]) == ("UNKNOWN_WORD", "kitchn", "kitchen")


@pytest.mark.parametrize("models", [FORGETS], indirect=True)
async def test_unknown_words_are_listed_where_they_are_allowed(served: Served) -> None:
    served.calls.asked = asked(2)
    response = await served.questions.Ask(ask(["Fred went to the pub.", "Mary went."], "Where is Fred and Ann?"))

    assert list(response.unknown_words) == ["fred", "pub", "and", "ann"]


@pytest.mark.parametrize("models", [FORGETS], indirect=True)
async def test_the_oldest_sentences_are_forgotten_where_the_model_forgets(served: Served) -> None:
    served.calls.asked = asked(3)
    response = await served.questions.Ask(ask(["Mary went."] * 2 + STORY))

    assert response.forgotten_sentence_count == 1
    assert np.asarray(served.calls.questions[0][1]).shape == (3, 6)


@pytest.mark.parametrize(
    ("request_message", "reason"),
    [
        (ask(["Mary went."] * 4), "TOO_LONG"),  # more than this model remembers
        (ask(["Mary went."] * 9), "TOO_LONG"),  # more than the server takes
        (ask(["mary " * 7]), "TOO_LONG"),  # words
        (ask(["x" * 101]), "TOO_LONG"),  # bytes
        (ask([]), "INVALID_FIELD"),
        (ask(["..."]), "INVALID_FIELD"),
        (ask(question=""), "INVALID_FIELD"),
        (pb.AskRequest(model_id="none", story=pb.Story(sentences=STORY), question="where"), "MODEL_NOT_FOUND"),
        (pb.AskRequest(model_id="sum", story=pb.Story(sentences=STORY), question="where"), "NOT_SUPPORTED"),
    ],
)
async def test_a_story_that_cannot_be_asked_about_says_why(
    served: Served, request_message: pb.AskRequest, reason: str
) -> None:
    assert await reason_of(served.questions.Ask(request_message)) == reason


async def test_a_sessions_story_is_asked_by_its_step(served: Served) -> None:
    """Weights of empty memory are left out: the newest sentence is last."""
    served.calls.model = question_model()
    served.calls.asked = asked(3, step=2, told=2)
    request = pb.AskRequest(session_id="s", question="where is mary", minimum_step=2, incarnation=INCARNATION.hex())
    response = await served.questions.Ask(request)

    assert (response.step, response.forgotten_sentence_count) == (2, 0)
    assert [list(hop.weights) for hop in response.hops] == [[1, 2], [4, 5]]
    assert served.calls.questions[0][2] == 2


async def test_a_session_that_outgrew_the_memory_says_so(served: Served) -> None:
    served.calls.model = FORGETS
    served.calls.asked = asked(3, step=5, told=5)
    response = await served.questions.Ask(pb.AskRequest(session_id="s", question="where is mary"))

    assert response.forgotten_sentence_count == 2
    assert [list(hop.weights) for hop in response.hops] == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("models", [ABSORBS], indirect=True)
async def test_a_memory_that_absorbs_forgets_no_sentence_and_shows_its_slots(served: Served) -> None:
    served.calls.model = ABSORBS
    served.calls.asked = asked(2, step=5000, told=5000)
    of_session = await served.questions.Ask(pb.AskRequest(session_id="s", question="where is mary"))
    served.calls.asked = asked(2)
    of_story = await served.questions.Ask(ask(["Mary went."] * 7))

    for response in (of_session, of_story):
        assert response.forgotten_sentence_count == 0
        assert [list(hop.weights) for hop in response.hops] == [[0, 1], [2, 3]]
        assert response.attention_columns == QuestionAnswering.ATTENTION_COLUMNS_SLOTS
    assert np.asarray(served.calls.questions[1][1]).shape == (7, 6)


async def test_a_session_that_was_told_nothing_has_nothing_to_look_at(served: Served) -> None:
    served.calls.model = question_model()
    served.calls.asked = asked(3)
    response = await served.questions.Ask(pb.AskRequest(session_id="s", question="where is mary"))

    assert [list(hop.weights) for hop in response.hops] == [[], []]


async def test_telling_is_one_chunk_of_a_step_a_sentence(served: Served) -> None:
    served.calls.model = FORGETS
    request = pb.TellRequest(session_id="s", step=3, sentences=["Fred went.", "Ann went."], acknowledged_step=1)
    response = await served.questions.Tell(request)
    message = served.calls.messages[0]

    assert (response.step, response.step_count, response.committed_step) == (3, 2, 4)
    assert list(response.unknown_words) == ["fred", "ann"]
    assert (message.entry, message.step_count, message.acknowledged_step) == ("tell", 2, 1)
    assert message.inputs["sentence"].shape == (2, 6)
    assert (response.input_hash, response.incarnation) == (message.input_hash, INCARNATION.hex())


async def test_a_story_of_known_words_has_no_unknown_ones(served: Served) -> None:
    served.calls.model = question_model()
    response = await served.questions.Tell(pb.TellRequest(session_id="s", step=1, sentences=STORY))

    assert list(response.unknown_words) == []


async def test_a_sequence_model_can_be_told_nothing(served: Served) -> None:
    request = pb.TellRequest(session_id="s", step=1, sentences=STORY)

    assert await reason_of(served.questions.Tell(request)) == "NOT_SUPPORTED"

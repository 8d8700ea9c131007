"""The step table, row by row, on the pure rules."""

from __future__ import annotations

import pytest

from service.errors import AnswerReleased, OverCapacity, StepGap, StepPayloadMismatch, TooLong
from service.sessions.session import Accept, InFlight, Session, Span, Stored


def span(first: int, count: int = 1, content: str = "x") -> Span:
    return Span(first, count, content.encode())


def committed(session: Session, *spans: Span, keep_from: int = 1) -> Session:
    for one in spans:
        session.accept(one)
        session.commit(one, keep_from)
    return session


def test_the_next_step_is_accepted() -> None:
    assert session_at(3).judge(span(4)) == Accept()


def session_at(step: int, window: int = 8) -> Session:
    return committed(Session(window, 0), *(span(n) for n in range(1, step + 1)))


def test_a_step_ahead_of_the_next_is_a_gap() -> None:
    with pytest.raises(StepGap) as caught:
        session_at(3).judge(span(6))

    assert caught.value.facts["expected_step"] == "4"


def test_the_gap_counts_from_the_last_accepted_step() -> None:
    session = session_at(3)
    session.accept(span(4))

    with pytest.raises(StepGap) as caught:
        session.judge(span(6))

    assert caught.value.facts["expected_step"] == "5"


def test_a_committed_step_is_answered_from_the_store() -> None:
    assert session_at(3).judge(span(2)) == Stored(span(2))


def test_a_step_in_flight_is_recognised() -> None:
    session = session_at(3)
    session.accept(span(4))

    assert session.judge(span(4)) == InFlight(span(4))


@pytest.mark.parametrize(
    "message",
    [span(2, content="other"), span(2, count=2), span(4, content="other"), span(5, count=2), span(6, count=2)],
    ids=["other input, committed", "other count", "other input, in flight", "longer chunk", "inside a chunk"],
)
def test_another_message_under_a_number_is_a_mismatch(message: Span) -> None:
    session = session_at(3)
    session.accept(span(4))
    session.accept(span(5, count=3))

    with pytest.raises(StepPayloadMismatch):
        session.judge(message)


def test_a_mismatch_says_what_is_there() -> None:
    session = committed(Session(8, 0), span(1), span(2, count=3))

    with pytest.raises(StepPayloadMismatch) as caught:
        session.judge(span(3))

    assert (caught.value.facts["first_step"], caught.value.facts["step_count"]) == ("2", "3")


def test_a_released_answer_says_which_is_the_oldest() -> None:
    session = committed(Session(2, 0), span(1), span(2))
    session.accept(span(3))
    session.commit(session.in_flight[0], oldest_kept_answer=2)

    with pytest.raises(AnswerReleased) as caught:
        session.judge(span(1))

    assert (caught.value.facts["committed_step"], caught.value.facts["oldest_kept_answer"]) == ("3", "2")


def test_steps_beyond_the_window_are_over_capacity() -> None:
    session = session_at(3, window=2)
    session.accept(span(4))
    session.accept(span(5))

    with pytest.raises(OverCapacity):
        session.judge(span(6))


def test_a_chunk_must_fit_what_the_window_leaves() -> None:
    session = session_at(3, window=4)
    session.accept(span(4))

    assert session.judge(span(5, count=3)) == Accept()
    with pytest.raises(OverCapacity):
        session.judge(span(5, count=4))


def test_a_chunk_longer_than_the_window_never_fits() -> None:
    with pytest.raises(TooLong):
        session_at(3, window=4).judge(span(4, count=5))


def test_a_failure_takes_out_what_was_pipelined_behind() -> None:
    session = session_at(3)
    messages = [span(4), span(5), span(6)]
    for message in messages:
        session.accept(message)

    session.fail(messages[1])

    assert session.accepted_step == 4
    assert session.judge(span(5, content="again")) == Accept()


def test_a_commit_releases_what_is_beyond_the_window() -> None:
    session = session_at(3, window=4)

    assert session.release_through(span(8), acknowledged_step=0) == 4
    assert session.release_through(span(4), acknowledged_step=2) == 2


def test_an_acknowledgement_never_reaches_beyond_what_is_committed() -> None:
    assert session_at(3).release_through(span(4), acknowledged_step=99) == 3

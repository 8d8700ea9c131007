"""What a token and the window mean to a StepLog, without any wire."""

from __future__ import annotations

import random

import pytest

from tapehead.errors import (
    SessionReplaced,
    TooLong,
    WindowFull,
)
from tapehead.resume import StepLog
from tapehead.resume_token import ResumeToken
from tests.tapehead.step_logs import add, answer, fresh, opened, results, sent

TOKEN = ResumeToken("s", "i1", 5, "c0")


class TestTokens:
    def test_inputs_given_again_meet_their_stored_answers(self):
        log = StepLog(token=TOKEN)
        assert log.last_received_step == 5
        log.opened(opened(7))
        log.answered(answer(6, "f"))
        log.answered(answer(7, "g"))

        for content in "fgh":
            add(log, content)

        assert results(log) == [(6, "answer"), (7, "answer")]
        assert sent(log) == [8]

    def test_inputs_may_be_given_before_their_stored_answers_have_come(self):
        log = StepLog(token=TOKEN)
        log.opened(opened(7))
        add(log, "f"), add(log, "g"), add(log, "h")
        assert sent(log) == []

        log.answered(answer(6, "f"))
        log.answered(answer(7, "g"))

        assert results(log) == [(6, "answer"), (7, "answer")]
        assert sent(log) == [8]

    def test_another_input_than_before_the_restart_is_refused_and_may_be_corrected(self):
        log = StepLog(token=TOKEN)
        log.opened(opened(6))
        log.answered(answer(6, "f"))

        add(log, "not f")
        assert results(log) == [(6, "StepPayloadMismatch")]
        add(log, "f")

        assert results(log) == [(6, "answer")]

    def test_missed_answers_can_be_taken_without_their_inputs(self):
        log = StepLog(token=TOKEN)
        log.opened(opened(7))
        assert log.is_replaying
        log.answered(answer(6, "f"))
        log.answered(answer(7, "g"))
        assert not log.is_replaying

        assert [taken.step for taken in log.take_stored()] == [6, 7]
        assert log.take_stored() == []
        assert add(log, "h").step == 8
        assert log.delivered_step == 7

    def test_a_token_of_another_life_of_the_id_is_refused(self):
        with pytest.raises(SessionReplaced):
            StepLog(token=TOKEN).opened(opened(7, incarnation="i2"))

    def test_a_token_of_another_session_cannot_be_the_saved_one(self):
        with pytest.raises(ValueError, match="expected a token of session 's'"):
            fresh().saved(ResumeToken("other", "i1", 3, "c"))

    def test_json_forth_and_back(self):
        assert ResumeToken.from_dict(TOKEN.to_dict()) == TOKEN
        with pytest.raises(ValueError, match="expected a resume token"):
            ResumeToken.from_dict({"session_id": "s"})


class TestWindow:
    def test_counts_what_was_sent_and_not_answered(self):
        log = fresh(window=3)
        add(log, "a"), add(log, "b", count=2), sent(log)

        assert not log.has_room(1)
        log.answered(answer(1, "a"))
        assert log.has_room(1)
        assert not log.has_room(2)

    def test_a_chunk_longer_than_the_window_never_fits(self):
        with pytest.raises(TooLong) as caught:
            fresh(window=3).has_room(4)

        assert caught.value.metadata == {"limit": "3", "got": "4"}

    def test_h10_with_a_durable_token_it_counts_from_the_saved_token(self):
        """W = 1: answer 1 is received but its token not saved, so step 2 must not be sent."""
        log = fresh(window=1, durable_token=True)
        add(log, "a"), sent(log)
        log.answered(answer(1, "a"))
        log.delivered(1)

        assert not log.has_room(1)
        assert isinstance(log.window_error(), WindowFull)
        log.saved(ResumeToken("s", "i1", 1, "c"))
        assert log.has_room(1)

    def test_h10_resuming_from_the_token_finds_every_answer_kept(self):
        """Whatever a durable client does, what is committed is at most a window beyond its saved token."""
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        rng = random.Random(seed)
        log, committed = fresh(window=4, durable_token=True), 0
        for _ in range(500):
            if log.has_room(1) and rng.random() < 0.5:
                add(log, str(log.next_step))
            for number in sent(log):
                committed = number
                log.answered(answer(number, str(number)))
                log.delivered(number)
            if rng.random() < 0.2:
                log.saved(ResumeToken("s", "i1", rng.randint(0, log.delivered_step), "c"))
            assert log.covered_step >= committed - 4  # the store keeps the answers after committed - window

"""The rules of resuming, without any wire: each test tells a short story to a StepLog."""

from __future__ import annotations

import pytest

from tapehead.errors import (
    ModelNonFinite,
    ProtocolViolation,
    SessionReplaced,
    StateRegressed,
    StepGap,
    StepPayloadMismatch,
)
from tapehead.resume import StepLog
from tests.tapehead.step_logs import add, answer, fresh, opened, results, sent


class TestOneStream:
    def test_numbers_go_on_after_what_is_committed(self):
        log = fresh(committed=7)

        assert add(log, "a").step == 8
        assert add(log, "b", count=4).step == 9
        assert add(log, "c").step == 13
        assert sent(log) == [8, 9, 13]

    def test_answers_come_out_once_and_in_order(self):
        log = fresh()
        add(log, "a"), add(log, "b"), sent(log)

        log.answered(answer(1, "a"))
        log.answered(answer(1, "a"))
        log.answered(answer(2, "b"))

        assert results(log) == [(1, "answer"), (2, "answer")]
        assert not log.is_owed

    def test_the_first_open_asks_for_no_stored_answers(self):
        assert StepLog().last_received_step is None
        assert fresh(committed=3).last_received_step == 3

    def test_an_answer_that_was_not_asked_for_is_a_violation(self):
        log = fresh()
        add(log, "a")

        with pytest.raises(ProtocolViolation):
            log.answered(answer(1, "a"))  # held, but never sent
        sent(log)
        with pytest.raises(ProtocolViolation):
            log.answered(answer(2, "b"))

    def test_an_answer_to_another_input_fails_the_step(self):
        log = fresh()
        add(log, "a"), sent(log)

        log.answered(answer(1, "other"))

        assert results(log) == [(1, "StepPayloadMismatch")]


class TestFailedSteps:
    def test_a_failed_step_takes_those_behind_it_along_and_frees_their_numbers(self):
        log = fresh()
        for content in "abc":
            add(log, content)
        sent(log)
        log.answered(answer(1, "a"))

        log.failed(2, ModelNonFinite("nan"))

        assert results(log) == [(1, "answer"), (2, "ModelNonFinite"), (3, "StepGap")]
        assert log.next_step == 2

    def test_refusals_of_what_was_pipelined_are_swallowed_and_the_resend_is_answered(self):
        log = fresh()
        for content in "abc":
            add(log, content)
        sent(log)
        log.failed(1, ModelNonFinite("nan"))
        log.take_outcomes()
        add(log, "a")
        assert sent(log) == [1]

        log.failed(2, StepGap("ahead"))
        log.failed(3, StepGap("ahead"))
        log.answered(answer(1, "a"))

        assert results(log) == [(1, "answer")]

    def test_what_was_not_sent_yet_fails_too_but_no_refusal_of_it_is_awaited(self):
        log = fresh()
        add(log, "a"), sent(log), add(log, "b")

        log.failed(1, ModelNonFinite("nan"))

        assert results(log) == [(1, "ModelNonFinite"), (2, "StepGap")]
        add(log, "a"), sent(log)
        log.failed(1, ModelNonFinite("nan"))
        assert results(log) == [(1, "ModelNonFinite")]

    def test_step_zero_stands_for_the_oldest_in_flight(self):
        log = fresh()
        add(log, "a"), sent(log)

        log.failed(0, ProtocolViolation("unreadable"))

        assert results(log) == [(1, "ProtocolViolation")]

    def test_a_refusal_of_what_was_not_sent_is_a_violation(self):
        log = fresh()
        add(log, "a"), sent(log)

        with pytest.raises(ProtocolViolation):
            log.failed(9, StepGap("ahead"))

    def test_a_new_stream_owes_no_refusals_of_the_old_one(self):
        log = fresh()
        add(log, "a"), add(log, "b"), sent(log)
        log.failed(1, ModelNonFinite("nan"))
        log.opened(opened(0))
        log.take_outcomes()
        add(log, "a"), sent(log)

        log.answered(answer(1, "a"))

        assert results(log) == [(1, "answer")]


class TestLostStreams:
    def test_lost_before_the_commit_it_is_sent_again(self):
        log = fresh()
        add(log, "a"), add(log, "b"), sent(log)

        log.opened(opened(0))

        assert sent(log) == [1, 2]

    def test_lost_after_the_commit_the_answer_comes_as_a_replay_and_is_not_sent_again(self):
        log = fresh()
        add(log, "a"), add(log, "b"), sent(log)

        log.opened(opened(1))
        assert log.last_received_step == 0
        assert sent(log) == []  # nothing before the stored answer was compared
        log.answered(answer(1, "a"))

        assert sent(log) == [2]
        log.answered(answer(2, "b"))
        assert results(log) == [(1, "answer"), (2, "answer")]

    def test_chunks_are_sent_again_with_the_same_boundaries(self):
        log = fresh()
        add(log, "a", count=3), add(log, "b", count=2), sent(log)

        log.opened(opened(3))
        log.answered(answer(1, "a", count=3))

        message = log.next_to_send()
        assert message is not None
        assert (message.step, message.step_count) == (4, 2)
        assert message.request().step_count == 2

    def test_what_was_committed_before_the_loss_and_received_is_dropped_as_a_repeat(self):
        log = fresh()
        add(log, "a"), sent(log)
        log.answered(answer(1, "a"))

        log.opened(opened(1))
        log.answered(answer(1, "a"))

        assert results(log) == [(1, "answer")]

    def test_lost_again_in_the_middle_of_the_stored_answers(self):
        log = fresh()
        for content in "abcd":
            add(log, content)
        sent(log)
        log.opened(opened(3))
        log.answered(answer(1, "a"))

        log.opened(opened(3))
        assert log.last_received_step == 1
        log.answered(answer(2, "b"))
        log.answered(answer(3, "c"))

        assert sent(log) == [4]
        assert results(log) == [(1, "answer"), (2, "answer"), (3, "answer")]

    def test_after_the_notice_of_a_drain_nothing_is_sent_until_the_next_stream(self):
        log = fresh()
        add(log, "a"), sent(log)
        log.stop_sending()
        add(log, "b")

        assert sent(log) == []
        log.answered(answer(1, "a"))
        log.opened(opened(1))
        assert sent(log) == [2]

    def test_another_incarnation_is_refused(self):
        log = fresh()

        with pytest.raises(SessionReplaced):
            log.opened(opened(0, incarnation="i2"))

    def test_a_store_that_went_back_in_time_is_refused(self):
        log = fresh(committed=4)

        with pytest.raises(StateRegressed) as caught:
            log.opened(opened(3))

        assert caught.value.metadata == {"committed_step": "3", "seen_step": "4"}


class TestOthers:
    def test_h9_a_lost_step_whose_number_another_client_took_is_not_answered_with_the_others_answer(self):
        """C0 sends 1 = x, which is lost; C1 commits 1 = y; C0 resumes and is shown y's answer."""
        log = fresh()
        add(log, "x"), sent(log)

        log.opened(opened(1))
        log.answered(answer(1, "y"))

        assert results(log) == [(1, "StepPayloadMismatch")]

    def test_nothing_is_committed_on_top_of_anothers_steps(self):
        log = fresh()
        for content in "abc":
            add(log, content)
        sent(log)

        log.opened(opened(2))
        assert sent(log) == []
        log.answered(answer(1, "theirs"))
        log.answered(answer(2, "theirs too"))

        assert sent(log) == []
        assert results(log) == [(1, "StepPayloadMismatch"), (2, "StepGap"), (3, "StepGap")]

    def test_another_boundary_is_another_step(self):
        log = fresh()
        add(log, "a", count=2), sent(log)

        log.opened(opened(1))
        log.answered(answer(1, "a"))

        error = log.take_outcomes()[0].error
        assert isinstance(error, StepPayloadMismatch)
        assert error.metadata == {"first_step": "1", "step_count": "1"}

    def test_after_a_mismatch_the_others_answers_can_be_taken(self):
        log = fresh()
        add(log, "a"), sent(log)
        log.opened(opened(2))
        log.answered(answer(1, "theirs"))
        log.answered(answer(2, "theirs too"))

        assert [taken.step for taken in log.take_stored()] == [1, 2]
        assert add(log, "c").step == 3
        assert sent(log) == [3]

"""The rules of resuming, without any wire: each test tells a short story to a StepLog."""

from __future__ import annotations

import random

import pytest

from tapehead.errors import (
    ModelNonFinite,
    OverCapacity,
    ProtocolViolation,
    SessionReplaced,
    StateRegressed,
    StepGap,
    StepPayloadMismatch,
    TooLong,
    WindowFull,
)
from tapehead.resume import Message, StepLog
from tapehead.resume_token import ResumeToken
from tapehead.v1.session_pb2 import Session
from tapehead.v1.session_service_pb2 import StepResult, StreamOpened

TOKEN = ResumeToken("s", "i1", 5, "c0")


def opened(committed: int, *, window: int = 64, incarnation: str = "i1") -> StreamOpened:
    session = Session(session_id="s", incarnation=incarnation)
    return StreamOpened(session=session, committed_step=committed, window=window)


def fresh(committed: int = 0, *, window: int = 64, durable_token: bool = False) -> StepLog:
    log = StepLog(durable_token=durable_token)
    log.opened(opened(committed, window=window))
    return log


def add(log: StepLog, content: str, count: int = 0) -> Message:
    return log.add(count, (), (), content.encode())


def sent(log: StepLog) -> list[int]:
    numbers = []
    while (message := log.next_to_send()) is not None:
        numbers.append(message.step)
    return numbers


def answer(step: int, content: str, count: int = 0) -> StepResult:
    return StepResult(step=step, step_count=count, input_hash=content.encode())


def results(log: StepLog) -> list[tuple[int, str]]:
    """Outcomes as (step, "answer") or (step, name of the error)."""
    return [
        (outcome.message.step, "answer" if outcome.error is None else type(outcome.error).__name__)
        for outcome in log.take_outcomes()
    ]


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


class _Store:
    """Commits what a log sends, and hands answers back or loses them."""

    def __init__(self, log: StepLog, window: int, rng: random.Random) -> None:
        self.log, self.window, self.rng = log, window, rng
        self.kept: list[StepResult] = []
        self.wire: list[Message] = []
        self.outcomes: list[tuple[int, str]] = []

    @property
    def committed(self) -> int:
        return self.kept[-1].step + max(1, self.kept[-1].step_count) - 1 if self.kept else 0

    def take(self) -> None:
        """Puts the next message on the wire, if there is one."""
        message = self.log.next_to_send()
        if message is not None:
            self.wire.append(message)

    def refuse(self) -> None:
        """Has no room for the next message, so that those behind it are ahead of their turn."""
        first, *behind = self.wire
        self.wire.clear()
        self.log.failed(first.step, OverCapacity("full"))
        for message in behind:
            if self.rng.random() < 0.3:  # what waited is sent again before its refusals are read
                self.log.resend()
                self.take()
            self.log.failed(message.step, StepGap("ahead"))
        assert results(self.log) == []

    def commit(self) -> StepResult:
        message = self.wire.pop(0)
        assert message.step == self.committed + 1
        self.kept.append(answer(message.step, message.input_hash.decode(), message.step_count))
        return self.kept[-1]

    def give(self, result: StepResult) -> None:
        self.log.answered(result)
        self.outcomes += results(self.log)

    def reopen(self) -> None:
        self.wire.clear()
        start = self.log.last_received_step
        assert start is not None
        assert start >= self.committed - self.window, "an answer that is still wanted would be released"
        self.log.opened(opened(self.committed, window=self.window))
        for kept in self.kept:
            if kept.step > start:
                self.give(kept)


@pytest.mark.parametrize("window", [1, 3, 16])
def test_random_losses_never_lose_repeat_or_reorder_a_step(window: int):
    """A model of the server with random cuts and overloads: each input ends up taken and answered once, in order."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    log = fresh(window=window)
    store = _Store(log, window, rng)
    given: list[int] = []

    for _ in range(3000):
        count = rng.choice([0, 0, 1, 2, 3])
        if max(1, count) <= window and log.has_room(max(1, count)) and rng.random() < 0.5:
            given.append(add(log, f"{len(given)}", count).step)
        store.take()
        if store.wire and rng.random() < 0.1:
            store.refuse()
        if rng.random() < 0.5:
            log.resend()
        if store.wire and rng.random() < 0.7:
            result = store.commit()
            if rng.random() < 0.8:
                store.give(result)
            else:  # the answer is lost with the stream, after more was perhaps committed
                while store.wire and rng.random() < 0.5:
                    store.commit()
                store.reopen()
        if rng.random() < 0.1:
            store.reopen()
    store.reopen()
    for _ in given:
        store.take()
        if store.wire:
            store.give(store.commit())

    assert store.outcomes == [(step, "answer") for step in given]
    assert [int(kept.input_hash) for kept in store.kept] == list(range(len(given)))

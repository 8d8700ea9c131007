"""Words for short stories that are told to a StepLog."""

from __future__ import annotations

from tapehead.resume import Message, StepLog
from tapehead.v1.session_pb2 import Session
from tapehead.v1.session_service_pb2 import StepResult, StreamOpened


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

"""A session of the scripted server: the step protocol in a page."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from service.sessions.hashing import step_hash
from tapehead.tensors import to_message
from tapehead.v1 import (
    session_pb2,
)
from tapehead.v1.session_service_pb2 import StepResult


class FakeSession:
    def __init__(self, session_id: str, incarnation: str, model_id: str, window: int, durability: int) -> None:
        self.session_id, self.incarnation, self.model_id = session_id, incarnation, model_id
        self.window, self.durability = window or 64, durability or session_pb2.DURABILITY_DISK
        self.committed = 0
        self.epoch = 0
        self.total = np.zeros(2, np.float32)
        self.answers: dict[int, StepResult] = {}  # by first step
        self.inputs: list[np.ndarray] = []
        self.sentences: list[str] = []
        self.last_writer = ""
        self.labels: dict[str, str] = {}
        self.kept_steps: list[int] = []
        self.ttl: timedelta | None = None

    @property
    def oldest_kept_answer(self) -> int:
        return min(self.answers, default=self.committed + 1)

    def message(self) -> session_pb2.Session:
        return session_pb2.Session(
            session_id=self.session_id,
            incarnation=self.incarnation,
            model_id=self.model_id,
            model_version=1,
            state=session_pb2.Session.STATE_PARKED,
            committed_step=self.committed,
            oldest_kept_answer=self.oldest_kept_answer,
            epoch=self.epoch,
            window=self.window,
            durability=self.durability,
            labels=self.labels,
            kept_steps=self.kept_steps,
        )

    def commit(self, step: int, step_count: int, inputs: dict[str, np.ndarray], outputs: list[str]) -> StepResult:
        rows = inputs["x"] if step_count else inputs["x"][None]
        sums = []
        for row in rows:
            self.total = self.total + row
            self.inputs.append(row)
            sums.append(self.total)
        made = {
            "y": np.stack(sums),
            "tape": np.outer(np.arange(3, dtype=np.float32), self.total)[None].repeat(len(rows), 0),
        }
        given = [(name, made[name] if step_count else made[name][0]) for name in (outputs or ["y"])]
        self.committed = step + len(rows) - 1
        answer = StepResult(
            step=step,
            step_count=step_count,
            outputs=[to_message(name, array) for name, array in given],
            input_hash=step_hash(step_count, inputs, outputs),
            committed_step=self.committed,
        )
        self.keep(step, answer)
        return answer

    def keep(self, step: int, answer: StepResult) -> None:
        self.answers[step] = answer
        horizon = self.committed - self.window
        self.answers = {n: kept for n, kept in self.answers.items() if n + max(1, kept.step_count) - 1 > horizon}


def replayed(answer: StepResult, session: FakeSession) -> StepResult:
    copy = StepResult()
    copy.CopyFrom(answer)
    copy.replayed, copy.committed_step = True, session.committed
    return copy

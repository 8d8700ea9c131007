"""What one session was given and what it gave back, and what it ought to have given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

import tapehead
from service.hosting.model import Model

OUTPUTS = ("y", "tape")


@dataclass(frozen=True, slots=True)
class Rewind:
    """A step that takes the state after another one."""

    to_step: int


Event = np.ndarray | Rewind  # the input of a single step, or a rewind


@dataclass(eq=False, repr=False)
class History:
    """One incarnation of a session, in the order of its steps."""

    session_id: str
    incarnation: str = ""
    parent: History | None = None
    origin: int = 0  # the step at which it was forked from its parent
    events: list[Event] = field(default_factory=list)
    answers: dict[int, bytes] = field(default_factory=dict)  # by step: the digest of the outputs
    replayed: int = 0
    is_deleted: bool = False

    @property
    def last_step(self) -> int:
        return self.origin + len(self.events)

    def answered(self, result: tapehead.StepResult) -> Iterable[str]:
        """Notes an answer. Yields what is wrong with it, compared with earlier ones."""
        self.replayed += result.replayed
        for row in range(max(1, result.step_count)):
            step, got = result.step + row, digest(result.outputs, row if result.step_count else None)
            if self.answers.setdefault(step, got) != got:
                yield f"{self}: step {step} was answered twice, with other bits"

    def __str__(self) -> str:
        return f"{self.session_id} ({self.incarnation[:8]})"


def digest(outputs: Mapping[str, np.ndarray], row: int | None = None) -> bytes:
    parts = (outputs[name] if row is None else outputs[name][row] for name in OUTPUTS if name in outputs)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).digest()


def state_digest(state: Mapping[str, np.ndarray]) -> bytes:
    return hashlib.sha256(b"".join(np.ascontiguousarray(state[name]).tobytes() for name in sorted(state))).digest()


class Reference:
    """The same steps run by onnxruntime alone: in this process, one after the other, without a server."""

    def __init__(self, model: Model, histories: Sequence[History]) -> None:
        self._model = model
        self.answers: dict[History, dict[int, bytes]] = {}
        self.finals: dict[History, dict[str, np.ndarray]] = {}
        self._digests: dict[History, dict[int, bytes]] = {}  # of the states after all steps
        self._wanted: dict[History, set[int]] = {history: set() for history in histories}
        self._states: dict[tuple[History, int], dict[str, np.ndarray]] = {}
        for history in histories:  # parents come before their forks
            if history.parent is not None:
                self._wanted[history.parent].add(history.origin)
            self._wanted[history] |= {event.to_step for event in history.events if isinstance(event, Rewind)}
        for history in histories:
            self._play(history)

    def _play(self, history: History) -> None:
        state = self._state_of(history, history.origin)
        answers, digests = self.answers[history], self._digests[history] = {}, {}
        for step, event in enumerate(history.events, history.origin + 1):
            if isinstance(event, Rewind):
                state, outputs = self._state_of(history, event.to_step), {}
            else:
                given, after = self._model.runner.run("step", {"x": event[np.newaxis]}, _batch(state), OUTPUTS)
                state, outputs = _row(after), _row(given)
            answers[step], digests[step] = digest(outputs), state_digest(state)
            if step in self._wanted[history]:
                self._states[history, step] = state
        self.finals[history] = state

    def digest_of(self, history: History, step: int) -> bytes:
        """The digest of the state after a step, the one that it was forked at and those before included."""
        if step == 0:
            return state_digest(self._model.initial_state)
        if step <= history.origin:
            assert history.parent is not None
            return self.digest_of(history.parent, step)
        return self._digests[history].get(step, b"")

    def _state_of(self, history: History, step: int) -> dict[str, np.ndarray]:
        if step == 0:
            return dict(self._model.initial_state)
        if step <= history.origin:
            assert history.parent is not None
            return self._state_of(history.parent, step)
        return self._states[history, step]


def _batch(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array[np.newaxis] for name, array in arrays.items()}


def _row(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.array(array[0]) for name, array in arrays.items()}

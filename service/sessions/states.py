"""Finds the state of a step of a session: the latest, a kept one, or the one that the session began with."""

from __future__ import annotations

from ..errors import SessionReplaced, StepNotKept
from ..hosting.model import Model
from ..store.base import Head, Key, Record, Store
from .live import first_state, gone
from .retention import steps_to_go_back_to


async def state_of(store: Store, key: Key, incarnation: bytes | None, step: int | None, model: Model) -> Record:
    """The head, and the state after `step`; the latest if None.

    Raises SessionNotFound, SessionExpired, SessionReplaced, StepNotKept, StateCorrupt.
    """
    record = await store.load(key)
    if not isinstance(record, Record):
        raise gone(key.session_id, record)
    head = record.head
    if incarnation is not None and head.incarnation != incarnation:
        raise SessionReplaced(key.session_id)
    if step is None or step == head.committed_step:
        return record
    if step not in kept_steps(head):
        raise StepNotKept(key.session_id, step, kept_steps(head))
    if step == 0 and not head.birth.began:
        return Record(head, first_state(model))
    state = await store.kept_state(key, head.incarnation, step)
    if state is None:
        raise StepNotKept(key.session_id, step, kept_steps(head))  # dropped since the head was read
    return Record(head, state)


def kept_steps(head: Head) -> tuple[int, ...]:
    """Every step that the session can be forked from or rewound to."""
    birth = head.birth
    steps = steps_to_go_back_to(head.committed_step, head.kept_steps, birth.origin_step)
    if birth.began and 0 not in head.kept_steps:  # an earlier release left it with the session that it was forked from
        return steps[1:]
    return steps

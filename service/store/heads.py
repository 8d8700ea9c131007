"""How a head moves: the decisions that every store takes alike, without the place where it keeps them."""

from __future__ import annotations

from .base import Birth, Commit, Head


def born(birth: Birth, incarnation: bytes, client_id: str, now: float, state_bytes: int) -> Head:
    """The head of a session that has just been created."""
    return Head(
        birth=birth,
        incarnation=incarnation,
        epoch=0,
        committed_step=0,
        oldest_kept_answer=1,
        last_writer=client_id,
        fingerprint="",
        create_time=now,
        last_use_time=now,
        state_bytes=state_bytes,
    )


def follows(commit: Commit, head: Head) -> bool:
    """The compare of the compare-and-set."""
    return (
        commit.answer.first_step == head.committed_step + 1
        and commit.epoch == head.epoch
        and commit.incarnation == head.incarnation
    )


def committed(head: Head, commit: Commit, oldest_kept_answer: int, now: float) -> Head:
    """The head after a commit that follows it."""
    return Head(
        birth=head.birth,
        incarnation=head.incarnation,
        epoch=head.epoch,
        committed_step=commit.answer.last_step,
        oldest_kept_answer=oldest_kept_answer,
        last_writer=commit.client_id,
        fingerprint=commit.fingerprint,
        create_time=head.create_time,
        last_use_time=now,
        state_bytes=len(commit.state),
    )

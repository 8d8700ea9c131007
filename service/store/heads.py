"""How a head moves: the decisions that every store takes alike, without the place where it keeps them."""

from __future__ import annotations

from .base import Birth, Commit, Head, Snapshot


def born(birth: Birth, incarnation: bytes, client_id: str, now: float, state_bytes: int) -> Head:
    """The head of a session that has just been created."""
    return Head(
        birth=birth,
        incarnation=incarnation,
        epoch=0,
        committed_step=birth.origin_step,
        oldest_kept_answer=birth.origin_step + 1,
        last_writer=client_id,
        fingerprint="",
        create_time=now,
        last_use_time=now,
        state_bytes=state_bytes,
        kept_steps=(birth.origin_step,) if birth.keeps_origin else (),
    )


def restored(snapshot: Snapshot, incarnation: bytes, now: float) -> Head:
    """The head of a session that has just come from another place."""
    last = snapshot.committed_step
    return Head(
        birth=snapshot.birth,
        incarnation=incarnation,
        epoch=0,
        committed_step=last,
        oldest_kept_answer=snapshot.answers[0].first_step if snapshot.answers else last + 1,
        last_writer="",
        fingerprint=snapshot.fingerprint,
        create_time=now,
        last_use_time=now,
        state_bytes=len(snapshot.state),
        kept_steps=tuple(sorted(snapshot.kept_states)),
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
        kept_steps=kept_after(head.kept_steps, commit),
    )


def kept_after(kept_steps: tuple[int, ...], commit: Commit) -> tuple[int, ...]:
    """The kept steps after a commit: they stay in order, since its own is the last."""
    if commit.drop_kept:
        kept_steps = tuple(step for step in kept_steps if step not in commit.drop_kept)
    return (*kept_steps, commit.answer.last_step) if commit.keep else kept_steps

"""Sessions that travel: a copy as of one step, and a session that goes on where a copy ends."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..errors import FingerprintMismatch, InvalidField, SessionReplaced, StepGap, TooLong
from ..hosting.repository import Repository
from ..store.base import Durability, Key, Record, Snapshot, Store
from .creation import Creation
from .identity import CreateSpec, check_session_id, checked, request_hash
from .listing import SessionView
from .live import gone
from .portable_checks import check_snapshot, unbroken
from .portable_file import decode_snapshot, encode_snapshot

EXPORT_ROUNDS = 8  # tries to read a session that others step meanwhile


@dataclass(frozen=True, slots=True)
class ImportSpec:
    """Asks for a session that goes on where a file ends; empty fields are as the file, or the server, says."""

    session_id: str = ""
    request_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ttl: float = 0.0
    durability: Durability | None = None
    strict_fingerprint: bool = False


class Portable:
    """Exports and imports sessions."""

    def __init__(self, store: Store, repository: Repository, creation: Creation) -> None:
        self._store = store
        self._repository = repository
        self._creation = creation

    async def export_session(
        self, key: Key, incarnation: bytes | None, minimum_step: int, *, max_bytes: int | None = None
    ) -> tuple[int, bytes]:
        """A session's file, and the step that it was made at.

        Where others step the session so fast that an answer, or a kept state, is released before it could be read, the
        file is without it, as the session is by then. Raises StepGap, TooLong for a file above `max_bytes`, and what
        reading a state raises.
        """
        check_session_id(key.session_id)
        if minimum_step < 0:
            raise InvalidField("minimum_step", "0 or more", minimum_step)
        snapshot = await self.snapshot(key, incarnation, minimum_step, max_bytes=max_bytes)
        return snapshot.committed_step, await asyncio.to_thread(encode_snapshot, snapshot)

    async def snapshot(
        self, key: Key, incarnation: bytes | None, minimum_step: int = 0, *, max_bytes: int | None = None
    ) -> Snapshot:
        """All that a session is, as of one step. Raises as `export_session` does."""
        for round_left in reversed(range(EXPORT_ROUNDS)):
            record = await self._store.load(key)
            if not isinstance(record, Record):
                raise gone(key.session_id, record)
            head = record.head
            if incarnation not in (None, head.incarnation):
                raise SessionReplaced(key.session_id)
            if head.committed_step < minimum_step:
                raise StepGap(minimum_step, head.committed_step + 1)
            _require_short(head.state_bytes * (1 + len(head.kept_steps)), max_bytes)  # before the rest is read
            snapshot, is_whole = await self._rest_of(key, record)
            _require_short(_least_bytes(snapshot), max_bytes)
            if is_whole or not round_left:
                return snapshot
        raise AssertionError("the last round returns")

    async def import_session(self, owner: str, spec: ImportSpec, data: bytes) -> SessionView:
        """Creates a session from a file, with an incarnation of its own.

        Raises MalformedMessage, InvalidField, ModelNotFound and FingerprintMismatch for a file that does not suit,
        having written nothing; and what creating a session raises.
        """
        snapshot, digest = await asyncio.to_thread(_read, data)
        born = snapshot.birth
        labels = spec.labels or born.labels
        asked = CreateSpec(
            spec.session_id,
            born.model_id,
            born.model_version,
            spec.request_id,
            labels,
            spec.durability,
            born.window,
            spec.ttl or born.ttl,
            born.keep_every,
            born.keep_most,
        )
        request = request_hash(checked(asked), digest)
        again = await self._creation.found_again(owner, asked, request)
        if again is not None:
            return SessionView(again[0].session_id, again[1], attached=False)
        if spec.durability is not None and spec.durability > self._store.durability:
            raise InvalidField("durability", f"at most {self._store.durability.name}", spec.durability.name)
        model = self._repository.get(born.model_id, born.model_version)
        await asyncio.to_thread(check_snapshot, snapshot, model)
        if spec.strict_fingerprint and snapshot.fingerprint not in ("", model.fingerprint):
            raise FingerprintMismatch(spec.session_id, snapshot.fingerprint, model.fingerprint)
        birth = replace(born, request_hash=request, labels=dict(labels), ttl=asked.ttl)
        key, head = await self._creation.write_whole(owner, asked, replace(snapshot, birth=birth))
        return SessionView(key.session_id, head, attached=False)

    async def _rest_of(self, key: Key, record: Record) -> tuple[Snapshot, bool]:
        """A snapshot of what belongs to the record, and whether nothing of it was gone by the time it was read."""
        head = record.head
        read = await self._store.answers(key, head.incarnation, head.oldest_kept_answer)
        answers = unbroken([answer for answer in read if answer.last_step <= head.committed_step], head.committed_step)
        kept = {step: await self._store.kept_state(key, head.incarnation, step) for step in head.kept_steps}
        states = {step: state for step, state in kept.items() if state is not None}
        first = answers[0].first_step if answers else head.committed_step + 1
        is_whole = first == head.oldest_kept_answer and len(states) == len(kept)
        snapshot = Snapshot(head.birth, head.committed_step, head.fingerprint, record.state, answers, states)
        return snapshot, is_whole


def _read(data: bytes) -> tuple[Snapshot, str]:
    """What a file holds, and what tells it from another."""
    return decode_snapshot(data), hashlib.sha256(data).hexdigest()


def _require_short(least_bytes: int, max_bytes: int | None) -> None:
    if max_bytes is not None and least_bytes > max_bytes:
        raise TooLong("bytes of a session's file", max_bytes, least_bytes)


def _least_bytes(snapshot: Snapshot) -> int:
    """The size of a snapshot's file, without its header."""
    kept = sum(map(len, snapshot.kept_states.values()))
    return len(snapshot.state) + kept + sum(len(answer.payload) for answer in snapshot.answers)

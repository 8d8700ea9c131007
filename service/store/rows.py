"""Heads, tombstones, answers and kept states <-> bytes, for stores that keep them as rows of a table.

A row begins with a magic and a version and ends with a crc32c, which also covers the key under which the row lies: a
row that is torn, or lies in another's place, is `StateCorrupt`. The head's row holds the checksum of the state that
belongs to it, which binds the two. What was fixed at birth is JSON, since it is written once and people may read it.

    head       4s "TpHd" | H version | H 0 | Q number | I crc32c of the state | d due | Q epoch | Q committed step
               | Q oldest kept answer | Q state bytes | d create | d last use
               | HHH sizes | I number of kept steps | I size | incarnation | last writer | fingerprint
               | Q each kept step | birth | I crc32c
    tombstone  4s "TpTb" | H version | H 1 if expired | Q number | d due | d time | HH sizes
               | incarnation | request hash | I crc32c
    answer     4s "TpAn" | H version | H 0 | Q first step | Q step count | HI sizes | input hash | payload | I crc32c
    kept       4s "TpKs" | H version | H 0 | HQ sizes | incarnation | state | I crc32c
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from functools import lru_cache

from crc32c import crc32c

from ..errors import StateCorrupt
from .base import Answer, Birth, Head, Tombstone

VERSION = 1
_HEAD = struct.Struct("<4sHHQIdQQQQddHHHII")
_TOMBSTONE = struct.Struct("<4sHHQddHH")
_ANSWER = struct.Struct("<4sHHQQHI")
_KEPT = struct.Struct("<4sHHHQ")
_CHECKSUM = struct.Struct("<I")


@dataclass(slots=True)  # not frozen, like a head: one is made for every step
class HeadRow:
    """A head and what its store needs to find the rest of the session."""

    head: Head
    number: int  # of the session in its store; names its state and its answers
    state_checksum: int  # crc32c
    due: float  # when to look whether it has expired; at most its expire time
    birth: bytes  # the head's, as it was written at the creation


@dataclass(frozen=True, slots=True)
class TombstoneRow:
    """A tombstone and when it goes away."""

    tombstone: Tombstone
    number: int  # that the session had
    due: float


@dataclass(frozen=True, slots=True)
class KeptRow:
    """A state that is kept besides the latest; its step is in its key."""

    incarnation: bytes
    state: bytes


def encode_head(key: bytes, row: HeadRow) -> bytes:
    head = row.head
    writer, fingerprint = head.last_writer.encode(), head.fingerprint.encode()
    fixed = _HEAD.pack(
        b"TpHd",
        VERSION,
        0,
        row.number,
        row.state_checksum,
        row.due,
        head.epoch,
        head.committed_step,
        head.oldest_kept_answer,
        head.state_bytes,
        head.create_time,
        head.last_use_time,
        len(head.incarnation),
        len(writer),
        len(fingerprint),
        len(head.kept_steps),
        len(row.birth),
    )
    kept = struct.pack(f"<{len(head.kept_steps)}Q", *head.kept_steps)
    return _seal(key, b"".join((fixed, head.incarnation, writer, fingerprint, kept, row.birth)))


def decode_head(key: bytes, data: bytes) -> HeadRow:
    """Raises StateCorrupt on any damage."""
    _check(key, data, b"TpHd", _HEAD)
    fields = _HEAD.unpack_from(data)
    number, checksum, due, epoch, step, oldest, state_bytes, created, used = fields[3:12]
    *sizes, kept_count, birth_size = fields[12:]
    parts = _split(data, _HEAD.size, [*sizes, 8 * kept_count, birth_size])
    incarnation, writer, fingerprint, kept, birth = parts
    head = Head(
        birth=_decode_birth(birth),
        incarnation=incarnation,
        epoch=epoch,
        committed_step=step,
        oldest_kept_answer=oldest,
        last_writer=writer.decode(),
        fingerprint=fingerprint.decode(),
        create_time=created,
        last_use_time=used,
        state_bytes=state_bytes,
        kept_steps=struct.unpack(f"<{kept_count}Q", kept),
    )
    return HeadRow(head, number, checksum, due, birth)


def encode_tombstone(key: bytes, row: TombstoneRow) -> bytes:
    stone = row.tombstone
    sizes = len(stone.incarnation), len(stone.request_hash)
    fixed = _TOMBSTONE.pack(b"TpTb", VERSION, stone.expired, row.number, row.due, stone.time, *sizes)
    return _seal(key, fixed + stone.incarnation + stone.request_hash)


def decode_tombstone(key: bytes, data: bytes) -> TombstoneRow:
    """Raises StateCorrupt on any damage."""
    _check(key, data, b"TpTb", _TOMBSTONE)
    _, _, expired, number, due, time, *sizes = _TOMBSTONE.unpack_from(data)
    incarnation, request_hash = _split(data, _TOMBSTONE.size, sizes)
    return TombstoneRow(Tombstone(incarnation, request_hash, bool(expired), time), number, due)


def encode_answer(key: bytes, answer: Answer) -> bytes:
    sizes = len(answer.input_hash), len(answer.payload)
    fixed = _ANSWER.pack(b"TpAn", VERSION, 0, answer.first_step, answer.step_count, *sizes)
    return _seal(key, b"".join((fixed, answer.input_hash, answer.payload)))


def decode_answer(key: bytes, data: bytes) -> Answer:
    """Raises StateCorrupt on any damage."""
    _check(key, data, b"TpAn", _ANSWER)
    _, _, _, first_step, step_count, *sizes = _ANSWER.unpack_from(data)
    input_hash, payload = _split(data, _ANSWER.size, sizes)
    return Answer(first_step, step_count, input_hash, payload)


def encode_kept(key: bytes, row: KeptRow) -> bytes:
    fixed = _KEPT.pack(b"TpKs", VERSION, 0, len(row.incarnation), len(row.state))
    return _seal(key, b"".join((fixed, row.incarnation, row.state)))


def decode_kept(key: bytes, data: bytes) -> KeptRow:
    """Raises StateCorrupt on any damage."""
    _check(key, data, b"TpKs", _KEPT)
    incarnation, state = _split(data, _KEPT.size, _KEPT.unpack_from(data)[3:])
    return KeptRow(incarnation, state)


def _seal(key: bytes, row: bytes) -> bytes:
    return row + _CHECKSUM.pack(crc32c(row, crc32c(key)))


def _check(key: bytes, data: bytes, magic: bytes, fixed: struct.Struct) -> None:
    # Is it what lies here, of this version, whole: in this order, so that the message names the first cause.
    if len(data) < fixed.size + _CHECKSUM.size or data[:4] != magic:
        raise StateCorrupt(f"expected a row that begins with {magic!r}, got {len(data)} bytes of something else")
    version = int.from_bytes(data[4:6], "little")
    if version != VERSION:
        raise StateCorrupt(f"expected row version {VERSION}, got {version}")
    end = len(data) - _CHECKSUM.size
    if crc32c(memoryview(data)[:end], crc32c(key)) != _CHECKSUM.unpack_from(data, end)[0]:
        raise StateCorrupt("the checksum of its row is wrong, or it lies in another's place")


def _split(data: bytes, place: int, sizes: tuple[int, ...] | list[int]) -> list[bytes]:
    parts = []
    for size in sizes:
        parts.append(data[place : place + size])
        place += size
    if place != len(data) - _CHECKSUM.size:
        raise StateCorrupt("the length of its row does not fit")
    return parts


def encode_birth(birth: Birth) -> bytes:
    facts: dict[str, object] = {
        "model_id": birth.model_id,
        "model_version": birth.model_version,
        "window": birth.window,
        "ttl": birth.ttl,
        "request_hash": birth.request_hash.hex(),
        "labels": dict(birth.labels),
        "origin_step": birth.origin_step,
        "keep_every": birth.keep_every,
        "keep_most": birth.keep_most,
    }
    if birth.constants:
        facts["constants"] = birth.constants.hex()
    if birth.began:
        facts["began"] = True
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode()


@lru_cache(maxsize=8192)  # as many sessions as are likely to be stepped at once; a kilobyte each
def _decode_birth(data: bytes) -> Birth:
    """Its checksum was right, so that failing here means a foreign writer."""
    try:
        facts = json.loads(data)
        raw = {name: bytes.fromhex(facts.get(name, "")) for name in ("request_hash", "constants")}
        return Birth(**{**facts, **raw})
    except (ValueError, TypeError, KeyError) as error:
        raise StateCorrupt("what was fixed at its birth cannot be read") from error

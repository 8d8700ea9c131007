"""A session as a file: a snapshot <-> bytes. Pure.

    8s "TapeSess" | H version | H zero | I bytes of the header | header | parts | 32s SHA-256 of all before

The header is JSON: what was fixed at the session's birth, its numbers, and the size of each part. The parts are the
state, the kept states and the kept answers, as the stores keep them (`store/record.py`). Whatever does not check out is
MalformedMessage: a file comes from outside, like any other input.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..errors import MalformedMessage
from ..store.base import Answer, Birth, Snapshot

MAGIC = b"TapeSess"
VERSION = 1
MAX_HEADER = 1 << 20  # bytes
_FIXED = struct.Struct("<8sHHI")
_DIGEST_BYTES = 32
_LARGEST = 2**62  # of any number in the header

_NUMBERS = ("model_version", "window", "origin_step", "keep_every", "keep_most")


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Writes a file. What created the session is left out: a new request creates the next one."""
    birth = asdict(snapshot.birth)
    del birth["request_hash"]
    birth["constants"] = snapshot.birth.constants.hex()
    header = {
        "birth": birth,
        "committed_step": snapshot.committed_step,
        "fingerprint": snapshot.fingerprint,
        "state_bytes": len(snapshot.state),
        "kept_states": [[step, len(state)] for step, state in sorted(snapshot.kept_states.items())],
        "answers": [
            [answer.first_step, answer.step_count, answer.input_hash.hex(), len(answer.payload)]
            for answer in snapshot.answers
        ],
    }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    parts = [_FIXED.pack(MAGIC, VERSION, 0, len(text)), text, snapshot.state]
    parts += [state for _, state in sorted(snapshot.kept_states.items())]
    parts += [answer.payload for answer in snapshot.answers]
    data = b"".join(parts)
    return data + hashlib.sha256(data).digest()


def decode_snapshot(data: bytes) -> Snapshot:
    """Reads a file. The birth's request hash is empty. Raises MalformedMessage; says nothing of what the parts hold."""
    # Is it one of ours, of this version, whole: in this order, so that the message names the first cause.
    if len(data) < _FIXED.size + _DIGEST_BYTES or not data.startswith(MAGIC):
        raise MalformedMessage(f"expected the file of an exported session, got {len(data)} bytes of something else")
    _, version, _, header_size = _FIXED.unpack_from(data)
    if version != VERSION:
        raise MalformedMessage(f"expected the file of a session in version {VERSION}, got version {version}")
    end = len(data) - _DIGEST_BYTES
    if hashlib.sha256(memoryview(data)[:end]).digest() != data[end:]:
        raise MalformedMessage("the file of the session is damaged, or was cut: its checksum is wrong")
    if header_size > MAX_HEADER or _FIXED.size + header_size > end:
        raise MalformedMessage("the header of the session's file is longer than it can be")
    place = _FIXED.size + header_size
    try:
        header = json.loads(data[_FIXED.size : place])
        return _snapshot(header, data[place:end])
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise MalformedMessage(f"the header of the session's file cannot be read: {type(error).__name__}") from None


def _snapshot(header: Mapping[str, Any], parts: bytes) -> Snapshot:
    cut = _Cutter(parts)
    state = cut.take(header["state_bytes"])
    kept = {_number(step): cut.take(size) for step, size in header["kept_states"]}
    answers = [
        Answer(_number(first), _number(count), bytes.fromhex(_text(digest)), cut.take(size))
        for first, count, digest, size in header["answers"]
    ]
    if len(kept) != len(header["kept_states"]) or cut.is_left:
        raise ValueError
    committed = _number(header["committed_step"])
    return Snapshot(_birth(header["birth"]), committed, _text(header["fingerprint"]), state, tuple(answers), kept)


def _birth(facts: Mapping[str, Any]) -> Birth:
    ttl, labels, began = facts["ttl"], facts["labels"], facts["began"]
    if type(ttl) not in (int, float) or type(began) is not bool:
        raise TypeError
    return Birth(
        model_id=_text(facts["model_id"]),
        ttl=float(ttl),
        request_hash=b"",
        labels={_text(key): _text(value) for key, value in labels.items()},
        constants=bytes.fromhex(_text(facts["constants"])),
        began=began,
        **{name: _number(facts[name]) for name in _NUMBERS},
    )


class _Cutter:
    """Takes parts off, one after another."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def is_left(self) -> bool:
        return self._place != len(self._data)

    def take(self, size: Any) -> bytes:
        end = self._place + _number(size)
        if end > len(self._data):
            raise ValueError
        part = self._data[self._place : end]
        self._place = end
        return part


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise TypeError
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    value.encode()  # raises ValueError for what is no text
    return value

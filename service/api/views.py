"""Sessions as the contract shows them, and the identifiers that come with requests."""

from __future__ import annotations

import math
from typing import cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tapehead.v1 import session_pb2, session_service_pb2

from ..errors import InvalidField
from ..sessions.constants import Constants
from ..sessions.identity import CreateSpec
from ..sessions.states import kept_steps
from ..store.base import Durability, Head
from .tensors import decode_given, encode_outputs

_INCARNATION_DIGITS = 32


def session_view(session_id: str, head: Head, *, is_attached: bool, durability: Durability) -> session_pb2.Session:
    """Returns the message that describes a session."""
    state = session_pb2.Session.STATE_ATTACHED if is_attached else session_pb2.Session.STATE_PARKED
    view = session_pb2.Session(
        session_id=session_id,
        incarnation=head.incarnation.hex(),
        model_id=head.birth.model_id,
        model_version=head.birth.model_version,
        state=state,
        committed_step=head.committed_step,
        oldest_kept_answer=head.oldest_kept_answer,
        epoch=head.epoch,
        window=head.birth.window,
        durability=durability_view(durability),
        labels=head.birth.labels,
        state_bytes=head.state_bytes,
        fingerprint=head.fingerprint,
        create_time=timestamp(head.create_time),
        last_use_time=timestamp(head.last_use_time),
        ttl=duration(head.birth.ttl),
        expire_time=timestamp(head.expire_time),
        kept_steps=kept_steps(head),
    )
    encode_outputs(Constants.read(head.birth.constants).arrays, True, view.constants)  # lists, which people can read
    return view


def durability_view(durability: Durability) -> session_pb2.Durability:
    return cast(session_pb2.Durability, durability.value)  # the numbers are the same; a stub's enum has no constructor


def timestamp(seconds: float) -> Timestamp:
    """Returns the moment, which is in seconds since the epoch."""
    fraction, whole = math.modf(seconds)
    return Timestamp(seconds=int(whole), nanos=int(fraction * 1e9))


def duration(seconds: float) -> Duration:
    fraction, whole = math.modf(seconds)
    return Duration(seconds=int(whole), nanos=int(fraction * 1e9))


def incarnation_of(text: str) -> bytes | None:
    """Returns the incarnation that a request names; None if it names none."""
    if not text:
        return None
    try:
        if len(text) == _INCARNATION_DIGITS:
            return bytes.fromhex(text)
    except ValueError:
        pass
    raise InvalidField("incarnation", f"{_INCARNATION_DIGITS} hexadecimal digits", text)


def create_spec(request: session_service_pb2.CreateSessionRequest) -> CreateSpec:
    """Returns what a request asks to create; what its fields may hold is judged where sessions are made."""
    return CreateSpec(
        session_id=request.session_id,
        model_id=request.model_id,
        model_version=request.model_version,
        request_id=request.request_id,
        labels=dict(request.labels),
        durability=durability_of(request.durability),
        window=request.window,
        ttl=seconds_of(request.ttl),
        keep_every=request.keep_every,
        keep_most=request.keep_most,
        given=lambda model: decode_given(model, request.constants, request.start_inputs),
    )


def fork_spec(request: session_service_pb2.ForkSessionRequest) -> CreateSpec:
    """Returns what a request asks to create as a fork."""
    return CreateSpec(
        session_id=request.new_session_id,
        model_version=request.model_version,
        request_id=request.request_id,
        labels=dict(request.labels),
        window=request.window,
        ttl=seconds_of(request.ttl),
    )


def seconds_of(length: Duration) -> float:
    return length.seconds + length.nanos / 1e9


def durability_of(value: int) -> Durability | None:
    if value == session_pb2.DURABILITY_UNSPECIFIED:
        return None
    try:
        return Durability(value)
    except ValueError:
        raise InvalidField("durability", "MEMORY, PROCESS or DISK", value) from None

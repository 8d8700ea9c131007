"""Names: what a session may be called, and how a repeated creation is known. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..errors import InvalidField
from ..store.base import Durability
from .constants import Given
from .retention import MAX_KEPT

if TYPE_CHECKING:
    from ..hosting.model import Model

_SESSION_ID = re.compile(r"[A-Za-z0-9._/:-]{1,128}")
MAX_LABELS = 16
MAX_LABEL_LENGTH = 128  # characters of a key or a value
MAX_CLIENT_ID = 128  # characters
MAX_WINDOW = 1024  # steps
MIN_TTL, MAX_TTL = 1.0, 366 * 86400.0  # seconds


@dataclass(frozen=True, slots=True)
class CreateSpec:
    """Asks for a new session; empty fields are for the server to choose."""

    session_id: str = ""
    model_id: str = ""
    model_version: int = 0
    request_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    durability: Durability | None = None
    window: int = 0
    ttl: float = 0.0
    keep_every: int = 0  # steps between kept states
    keep_most: int = 0
    given: Callable[[Model], Given] | None = None  # reads constants and start inputs as the model wants them; raises


def checked(spec: CreateSpec) -> CreateSpec:
    """The same request, or InvalidField for what no session can have."""
    if spec.session_id:
        check_session_id(spec.session_id)
    if spec.request_id:
        try:
            uuid.UUID(spec.request_id)
        except ValueError:
            raise InvalidField("request_id", "a UUID", repr(spec.request_id)) from None
    if not 0 <= spec.window <= MAX_WINDOW:
        raise InvalidField("window", f"0 to {MAX_WINDOW} steps", spec.window)
    if spec.ttl and not MIN_TTL <= spec.ttl <= MAX_TTL:
        raise InvalidField("ttl", f"{MIN_TTL:.0f} to {MAX_TTL:.0f} seconds", spec.ttl)
    if spec.keep_every < 0:
        raise InvalidField("keep_every", "0 or more steps", spec.keep_every)
    if not 0 <= spec.keep_most <= MAX_KEPT:
        raise InvalidField("keep_most", f"0 to {MAX_KEPT} states", spec.keep_most)
    if len(spec.labels) > MAX_LABELS:
        raise InvalidField("labels", f"at most {MAX_LABELS}", len(spec.labels))
    for key, value in spec.labels.items():
        if not 1 <= len(key) <= MAX_LABEL_LENGTH or len(value) > MAX_LABEL_LENGTH:
            raise InvalidField("labels", f"keys and values of at most {MAX_LABEL_LENGTH} characters", f"{key!r}")
    return spec


def is_session_id(text: str) -> bool:
    """Whether this can name a session."""
    return _SESSION_ID.fullmatch(text) is not None


def check_session_id(session_id: str) -> None:
    """Raises InvalidField unless this can name a session."""
    if not is_session_id(session_id):
        raise InvalidField("session_id", "1 to 128 characters of A-Z a-z 0-9 . _ / : -", repr(session_id))


def check_client_id(client_id: str, field: str) -> None:
    """Raises InvalidField for a name of a client that is too long to be kept beside every session."""
    if len(client_id) > MAX_CLIENT_ID:
        raise InvalidField(field, f"at most {MAX_CLIENT_ID} characters", f"{len(client_id)}")


def named(owner: str, spec: CreateSpec) -> CreateSpec:
    """The same request with an id: the one given, one that follows from the request id, or a random one."""
    if spec.session_id:
        return spec
    if spec.request_id:
        source = f"{owner}\0{uuid.UUID(spec.request_id)}".encode()
        return replace(spec, session_id=hashlib.sha256(source).hexdigest()[:32])
    return replace(spec, session_id=uuid.uuid4().hex)


def request_hash(spec: CreateSpec, source: str = "", given: str = "") -> bytes:
    """Tells a repeat of a creation from another: empty without a request id, since then nothing is a repeat.

    `source` says what the session is made from, where that is not the model alone; `given` is the digest of its
    constants and start inputs.
    """
    if not spec.request_id:
        return b""
    content = [
        source,
        str(uuid.UUID(spec.request_id)),
        spec.session_id,
        spec.model_id,
        spec.model_version,
        sorted(spec.labels.items()),
        spec.durability,
        spec.window,
        spec.ttl,
        spec.keep_every,
        spec.keep_most,
        *([given] if given else []),
    ]
    return hashlib.sha256(json.dumps(content).encode()).digest()

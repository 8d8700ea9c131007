"""Sessions that take no more steps: sequences that were ended, and those that a new beginning has replaced. Pure.

A sequence of the Open Inference Protocol is the session `oip/<model>/<sequence id>`. An id with characters that no
session's has is written in those that it may have; one that is too long for that, as its hash. That a sequence was
ended is written by the commit of its last step itself, as that commit's writer; so a crash never parts the two.
"""

from __future__ import annotations

import base64
import hashlib

from ..errors import InvalidInput, SessionReplaced
from ..store.base import Head
from .identity import is_session_id

PREFIX = "oip/"  # of the ids of sequences
FROZEN_PREFIX = "oip-replaced/"  # of those that were replaced, before their incarnation
REPLACED = "oip.replaced"  # the label that says of which session this is the frozen past
SEQUENCE = "oip.sequence"  # the label that holds a sequence's id where that of its session does not
WRITER = "oip"  # who writes steps of sequences
ENDED = "oip.end"  # who writes the last one


class SequenceNotStarted(InvalidInput):
    """A request of a sequence that does not run, and does not begin it.

    `cause` is "unknown", "expired" or "ended". The text is the one by which clients of sequences know the situation.
    """

    def __init__(self, session_id: str, cause: str) -> None:
        model_id, _, name = session_id.removeprefix(PREFIX).partition("/")
        sequence_id = _read(name)
        super().__init__(
            f"inference request for sequence {sequence_id} to model '{model_id}' must specify the START flag on the "
            f"first request of the sequence: {_NOT_STARTED[cause]}",
            sequence_id=sequence_id,
            session_id=session_id,
        )
        self.cause = cause


_ENCODED, _HASHED = ":64:", ":sha256:"  # before a name that is not as the client wrote it
_NOT_STARTED = {
    "unknown": "there is no such sequence",
    "expired": "it was not used for its time to live",
    "ended": "it was ended by a request with the END flag",
}


def sequence_session(model_id: str, sequence_id: str) -> str:
    """The id of a sequence's session; those of different sequences differ."""
    written = _ENCODED + base64.urlsafe_b64encode(sequence_id.encode()).decode().rstrip("=")
    hashed = _HASHED + hashlib.sha256(sequence_id.encode()).hexdigest()
    names = [written, hashed] if sequence_id.startswith((_ENCODED, _HASHED)) else [sequence_id, written, hashed]
    return next(one for one in (f"{PREFIX}{model_id}/{name}" for name in names) if is_session_id(one))


def sequence_labels(session_id: str, sequence_id: str) -> dict[str, str]:
    """Tells people the id of a sequence that its session's does not show."""
    return {} if session_id.endswith(f"/{sequence_id}") else {SEQUENCE: sequence_id}


def _read(name: str) -> str:
    """The sequence's id, or of it what is left."""
    if not name.startswith(_ENCODED):
        return name
    text = name.removeprefix(_ENCODED)
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode(errors="replace")


def is_ended(session_id: str, head: Head) -> bool:
    """Whether the last step of a sequence was committed."""
    return head.last_writer == ENDED and session_id.startswith(PREFIX)


def require_open(session_id: str, head: Head) -> None:
    """Raises what the next step of a session that takes none comes to."""
    if is_ended(session_id, head):
        raise SequenceNotStarted(session_id, "ended")
    if REPLACED in head.birth.labels:
        raise SessionReplaced(head.birth.labels[REPLACED])

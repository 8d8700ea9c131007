"""Sessions that take no more steps: sequences that were ended, and those that a new beginning has replaced. Pure.

A sequence of the Open Inference Protocol is the session `oip/<model>/<sequence id>`. That it was ended is written by
the commit of its last step itself, as that commit's writer; so a crash never parts the two.
"""

from __future__ import annotations

from ..errors import InvalidInput, SessionReplaced
from ..store.base import Head

PREFIX = "oip/"  # of the ids of sequences
FROZEN_PREFIX = "oip-replaced/"  # of those that were replaced, before their incarnation
REPLACED = "oip.replaced"  # the label that says of which session this is the frozen past
WRITER = "oip"  # who writes steps of sequences
ENDED = "oip.end"  # who writes the last one


class SequenceNotStarted(InvalidInput):
    """A request of a sequence that does not run, and does not begin it.

    `cause` is "unknown", "expired" or "ended". The text is the one by which clients of sequences know the situation.
    """

    def __init__(self, session_id: str, cause: str) -> None:
        model_id, _, sequence_id = session_id.removeprefix(PREFIX).partition("/")
        super().__init__(
            f"inference request for sequence {sequence_id} to model '{model_id}' must specify the START flag on the "
            f"first request of the sequence: {_NOT_STARTED[cause]}",
            sequence_id=sequence_id,
            session_id=session_id,
        )
        self.cause = cause


_NOT_STARTED = {
    "unknown": "there is no such sequence",
    "expired": "it was not used for its time to live",
    "ended": "it was ended by a request with the END flag",
}


def sequence_session(model_id: str, sequence_id: str) -> str:
    """The id of a sequence's session."""
    return f"{PREFIX}{model_id}/{sequence_id}"


def is_ended(session_id: str, head: Head) -> bool:
    """Whether the last step of a sequence was committed."""
    return head.last_writer == ENDED and session_id.startswith(PREFIX)


def require_open(session_id: str, head: Head) -> None:
    """Raises what the next step of a session that takes none comes to."""
    if is_ended(session_id, head):
        raise SequenceNotStarted(session_id, "ended")
    if REPLACED in head.birth.labels:
        raise SessionReplaced(head.birth.labels[REPLACED])

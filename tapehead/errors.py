"""What can go wrong, as exceptions that say it in a sentence.

Every error of the server carries a `reason`, which is part of the contract, and facts under stable names in
`metadata`; each reason has its class here. The text may improve at any time: programs look at class and metadata.
"""

from __future__ import annotations

from collections.abc import Mapping

import grpc


class TapeheadError(Exception):
    """Base of everything that this package raises on purpose.

    `code` is the canonical status code, `retry_after` the seconds after which the server suggests to try again.
    """

    reason: str = ""
    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code if code is not None else type(self).code
        self.reason = reason if reason is not None else type(self).reason
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after


# --- raised by the client itself --------------------------------------------------------------------------------------


class ServerUnreachable(TapeheadError):
    """No server answers at the address, or the way to it broke."""

    code = grpc.StatusCode.UNAVAILABLE


class SessionClosed(TapeheadError):
    """The session object was closed before, or while, the step was asked for."""

    code = grpc.StatusCode.CANCELLED


class WindowFull(TapeheadError):
    """As many steps as the window holds lie behind the last saved token: save a newer one first."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class TensorMismatch(TapeheadError):
    """What was given cannot be turned into the inputs that the model takes."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class ProtocolViolation(TapeheadError):
    """The server said something that the contract does not allow."""

    code = grpc.StatusCode.INTERNAL


# --- said by the server: what was sent is not valid -------------------------------------------------------------------


class InvalidInput(TapeheadError):
    """Base of the errors about the content of a message."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class InvalidField(InvalidInput):
    """A field is missing or outside its range: metadata `field`, `expected`, `got`."""

    reason = "INVALID_FIELD"


class ShapeMismatch(InvalidInput):
    reason = "SHAPE_MISMATCH"


class DtypeMismatch(InvalidInput):
    reason = "DTYPE_MISMATCH"


class NonFiniteInput(InvalidInput):
    reason = "NON_FINITE_INPUT"


class TooLong(InvalidInput):
    """A limit that no retry will move: metadata `limit`, `got`."""

    reason = "TOO_LONG"


class UnknownWord(InvalidInput):
    """The model refuses words that it does not know: metadata `word`, `nearest`."""

    reason = "UNKNOWN_WORD"


class MalformedMessage(InvalidInput):
    reason = "MALFORMED_MESSAGE"


class InvalidPageToken(InvalidInput):
    reason = "INVALID_PAGE_TOKEN"


class SequenceNotFound(InvalidInput):
    """A sequence of the Open Inference Protocol that was not started; a session by another name."""

    reason = "SEQUENCE_NOT_FOUND"


class SequenceExpired(InvalidInput):
    reason = "SEQUENCE_EXPIRED"


class SequenceEnded(InvalidInput):
    """The sequence was ended, and its session takes no more steps."""

    reason = "SEQUENCE_ENDED"


# --- said by the server: what was named does not exist, or is another -------------------------------------------------


class NotFound(TapeheadError):
    """Base of the errors about names that lead nowhere."""

    code = grpc.StatusCode.NOT_FOUND


class SessionNotFound(NotFound):
    reason = "SESSION_NOT_FOUND"


class SessionExpired(NotFound):
    reason = "SESSION_EXPIRED"


class ModelNotFound(NotFound):
    reason = "MODEL_NOT_FOUND"


class SessionExists(TapeheadError):
    """The id is taken by a session with other content."""

    reason = "SESSION_EXISTS"
    code = grpc.StatusCode.ALREADY_EXISTS


class Refused(TapeheadError):
    """Base of the errors about a session that is not what the caller takes it for."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class ModelMismatch(Refused):
    reason = "MODEL_MISMATCH"


class ModelBroken(Refused):
    """A bundle cannot be served: metadata `why`. What was served before goes on."""

    reason = "MODEL_BROKEN"


class ModelInUse(Refused):
    """Sessions still need the version: metadata `sessions`, how many."""

    reason = "MODEL_IN_USE"


class FingerprintMismatch(Refused):
    reason = "FINGERPRINT_MISMATCH"


class SessionReplaced(Refused):
    """The session was deleted, and its id now belongs to a new one."""

    reason = "SESSION_REPLACED"


class StepPayloadMismatch(Refused):
    """The number belongs to a step with another input: metadata `first_step`, `step_count` of what is there."""

    reason = "STEP_PAYLOAD_MISMATCH"


class SessionTakenOver(TapeheadError):
    """A newer writer owns the session; metadata `same_client` says whether it was this client itself."""

    reason = "SESSION_TAKEN_OVER"
    code = grpc.StatusCode.ABORTED


class StateConflict(TapeheadError):
    reason = "STATE_CONFLICT"
    code = grpc.StatusCode.ABORTED


class OutOfRange(TapeheadError):
    """Base of the errors about the numbers of steps."""

    code = grpc.StatusCode.OUT_OF_RANGE


class StepGap(OutOfRange):
    """A step ahead of the next one, which is `expected_step` of the metadata; it changed nothing."""

    reason = "STEP_GAP"


class AnswerReleased(OutOfRange):
    """The step was committed, but its answer is no longer kept: metadata `oldest_kept_answer`."""

    reason = "ANSWER_RELEASED"


class StepNotKept(OutOfRange):
    reason = "STEP_NOT_KEPT"


# --- said by the server: its own condition ----------------------------------------------------------------------------


class Exhausted(TapeheadError):
    """Base of the errors about bounds that are reached for the moment; `retry_after` says when to try again."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class OverCapacity(Exhausted):
    reason = "OVER_CAPACITY"


class QuotaExceeded(Exhausted):
    """The owner has as much as it may: metadata `what`, `limit`."""

    reason = "QUOTA_EXCEEDED"


class StoreFull(Exhausted):
    reason = "STORE_FULL"


class Unavailable(TapeheadError):
    """Base of the errors that pass by themselves; sessions resume after them without being asked."""

    code = grpc.StatusCode.UNAVAILABLE


class Draining(Unavailable):
    reason = "DRAINING"


class StoreUnavailable(Unavailable):
    reason = "STORE_UNAVAILABLE"


class ModelLoading(Unavailable):
    reason = "MODEL_LOADING"


class DataLoss(TapeheadError):
    """Base of the errors about what the store holds."""

    code = grpc.StatusCode.DATA_LOSS


class StateCorrupt(DataLoss):
    reason = "STATE_CORRUPT"


class StateRegressed(DataLoss):
    """The store knows less than this client has seen: it went back in time."""

    reason = "STATE_REGRESSED"


class TokenInvalid(TapeheadError):
    """The server asks who calls, and does not know the token, or got none."""

    reason = "TOKEN_INVALID"
    code = grpc.StatusCode.UNAUTHENTICATED


class RoleRequired(TapeheadError):
    """Only an operator may do this."""

    reason = "ROLE_REQUIRED"
    code = grpc.StatusCode.PERMISSION_DENIED


class OutcomeUnknown(TapeheadError):
    """The commit began and its end is not known; sending the same number again settles it."""

    reason = "OUTCOME_UNKNOWN"
    code = grpc.StatusCode.DEADLINE_EXCEEDED


class DeadlineExceeded(TapeheadError):
    """Time was up before the commit began; nothing was changed."""

    reason = "DEADLINE_EXCEEDED"
    code = grpc.StatusCode.DEADLINE_EXCEEDED


class NotSupported(TapeheadError):
    reason = "NOT_SUPPORTED"
    code = grpc.StatusCode.UNIMPLEMENTED


class ModelNonFinite(TapeheadError):
    reason = "MODEL_NON_FINITE"
    code = grpc.StatusCode.INTERNAL


class ModelFailed(TapeheadError):
    reason = "MODEL_FAILED"
    code = grpc.StatusCode.INTERNAL


class InternalError(TapeheadError):
    """A bug of the server; its log knows more under the `request_id` of the metadata."""

    reason = "INTERNAL"
    code = grpc.StatusCode.INTERNAL


def _leaves(base: type[TapeheadError]) -> list[type[TapeheadError]]:
    return [base, *(leaf for child in base.__subclasses__() for leaf in _leaves(child))]


_BY_REASON = {kind.reason: kind for kind in _leaves(TapeheadError) if kind.reason}


def error_class(reason: str) -> type[TapeheadError]:
    """The class of a reason; the base class for a reason that this client is too old to know."""
    return _BY_REASON.get(reason, TapeheadError)

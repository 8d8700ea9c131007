"""The one table from domain errors to statuses; `python -m service.api.status` prints it as docs/errors.md.

A pair of (reason, domain) is part of the contract, and so are the keys of its metadata; texts are for people.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # its package ships no types

from tapehead.v1 import session_service_pb2 as pb

from .. import errors
from ..hosting.errors import ModelBroken, ModelInUse
from ..sessions.standing import SequenceNotStarted
from .errors import HealthNameUnknown

DOMAIN = "tapehead"
INTERNAL = "INTERNAL"

# Statuses travel in HTTP/2 trailers, which many proxies and clients cut at 8 KiB: message and details stay well below,
# also when the message is percent-encoded and the details are encoded in base64.
MESSAGE_BYTES = 512
FACT_BYTES = 256
FACTS_BYTES = 1536

Code = grpc.StatusCode


@dataclass(frozen=True, slots=True)
class Row:
    """One situation: the error, for one of its causes where they differ, and what a caller sees of it."""

    error: type[errors.TapeheadError]
    code: grpc.StatusCode
    reason: str
    in_band: bool = False  # on a stream it comes as a StepError, and the stream goes on
    cause: str = ""


TABLE = (
    Row(errors.InvalidField, Code.INVALID_ARGUMENT, "INVALID_FIELD", in_band=True),
    Row(errors.ShapeMismatch, Code.INVALID_ARGUMENT, "SHAPE_MISMATCH", in_band=True),
    Row(errors.DtypeMismatch, Code.INVALID_ARGUMENT, "DTYPE_MISMATCH", in_band=True),
    Row(errors.NonFiniteInput, Code.INVALID_ARGUMENT, "NON_FINITE_INPUT", in_band=True),
    Row(errors.TooLong, Code.INVALID_ARGUMENT, "TOO_LONG", in_band=True),
    Row(errors.UnknownWord, Code.INVALID_ARGUMENT, "UNKNOWN_WORD", in_band=True),
    Row(errors.MalformedMessage, Code.INVALID_ARGUMENT, "MALFORMED_MESSAGE", in_band=True),
    Row(errors.InvalidPageToken, Code.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN"),
    Row(SequenceNotStarted, Code.INVALID_ARGUMENT, "SEQUENCE_NOT_FOUND", cause="unknown"),
    Row(SequenceNotStarted, Code.INVALID_ARGUMENT, "SEQUENCE_EXPIRED", cause="expired"),
    Row(SequenceNotStarted, Code.INVALID_ARGUMENT, "SEQUENCE_ENDED", cause="ended"),
    Row(errors.SessionNotFound, Code.NOT_FOUND, "SESSION_NOT_FOUND"),
    Row(errors.SessionExpired, Code.NOT_FOUND, "SESSION_EXPIRED"),
    Row(errors.ModelNotFound, Code.NOT_FOUND, "MODEL_NOT_FOUND"),
    Row(HealthNameUnknown, Code.NOT_FOUND, "HEALTH_NAME_UNKNOWN"),
    Row(errors.SessionExists, Code.ALREADY_EXISTS, "SESSION_EXISTS"),
    Row(ModelBroken, Code.FAILED_PRECONDITION, "MODEL_BROKEN"),
    Row(ModelInUse, Code.FAILED_PRECONDITION, "MODEL_IN_USE"),
    Row(errors.ModelMismatch, Code.FAILED_PRECONDITION, "MODEL_MISMATCH"),
    Row(errors.FingerprintMismatch, Code.FAILED_PRECONDITION, "FINGERPRINT_MISMATCH"),
    Row(errors.SessionReplaced, Code.FAILED_PRECONDITION, "SESSION_REPLACED"),
    Row(errors.StepPayloadMismatch, Code.FAILED_PRECONDITION, "STEP_PAYLOAD_MISMATCH", in_band=True),
    Row(errors.SessionTakenOver, Code.ABORTED, "SESSION_TAKEN_OVER"),
    Row(errors.StateConflict, Code.ABORTED, "STATE_CONFLICT"),
    Row(errors.StepGap, Code.OUT_OF_RANGE, "STEP_GAP", in_band=True),
    Row(errors.AnswerReleased, Code.OUT_OF_RANGE, "ANSWER_RELEASED", in_band=True),
    Row(errors.StepNotKept, Code.OUT_OF_RANGE, "STEP_NOT_KEPT"),
    Row(errors.OverCapacity, Code.RESOURCE_EXHAUSTED, "OVER_CAPACITY", in_band=True),
    Row(errors.QuotaExceeded, Code.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", in_band=True),
    Row(errors.StoreFull, Code.RESOURCE_EXHAUSTED, "STORE_FULL"),
    Row(errors.Draining, Code.UNAVAILABLE, "DRAINING"),
    Row(errors.StoreUnavailable, Code.UNAVAILABLE, "STORE_UNAVAILABLE"),
    Row(errors.StateCorrupt, Code.DATA_LOSS, "STATE_CORRUPT"),
    Row(errors.StateRegressed, Code.DATA_LOSS, "STATE_REGRESSED"),
    Row(errors.TokenInvalid, Code.UNAUTHENTICATED, "TOKEN_INVALID"),
    Row(errors.RoleRequired, Code.PERMISSION_DENIED, "ROLE_REQUIRED"),
    Row(errors.DeadlineExceeded, Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", in_band=True),
    # Nobody knows whether the commit happened. A failed store is UNAVAILABLE: the same number may be sent again.
    Row(errors.OutcomeUnknown, Code.DEADLINE_EXCEEDED, "OUTCOME_UNKNOWN", cause="deadline"),
    Row(errors.OutcomeUnknown, Code.CANCELLED, "OUTCOME_UNKNOWN", cause="cancelled"),
    Row(errors.OutcomeUnknown, Code.UNAVAILABLE, "OUTCOME_UNKNOWN", cause="store"),
    Row(errors.NotSupported, Code.UNIMPLEMENTED, "NOT_SUPPORTED", in_band=True),
    Row(errors.ModelNonFinite, Code.INTERNAL, "MODEL_NON_FINITE", in_band=True),
    Row(errors.ModelFailed, Code.INTERNAL, "MODEL_FAILED", in_band=True),
)

_ROWS = {(row.error, row.cause): row for row in TABLE}


def row_of(error: errors.TapeheadError) -> Row | None:
    """Returns the error's row, or that of its nearest base; None for an error that nobody has put into the table."""
    cause = getattr(error, "cause", "")
    rows = (_ROWS.get((kind, cause)) for kind in type(error).__mro__)
    return next((row for row in rows if row is not None), None)


def is_in_band(error: errors.TapeheadError) -> bool:
    """Tells whether a stream goes on after a step failed with this error."""
    row = row_of(error)
    return row is not None and row.in_band


@dataclass(frozen=True, slots=True)
class Status:
    """A status as it leaves: what grpc calls code, message and details."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str]
    retry_after: float | None = None  # seconds
    violated_field: str | None = None  # of an INVALID_ARGUMENT

    def serialize(self) -> bytes:
        """Returns the google.rpc.Status for the trailer `grpc-status-details-bin`."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=dict(self.metadata))
        status.details.add().Pack(info)
        if self.violated_field is not None:
            bad_request = error_details_pb2.BadRequest()
            bad_request.field_violations.add(field=self.violated_field, description=self.message, reason=self.reason)
            status.details.add().Pack(bad_request)
        if self.retry_after is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromNanoseconds(int(self.retry_after * 1e9))
            status.details.add().Pack(retry)
        serialized: bytes = status.SerializeToString()
        return serialized


def status_of(error: BaseException, request_id: str) -> Status:
    """Returns what a caller sees of `error`; of one that is not the domain's, only where to look it up."""
    row = row_of(error) if isinstance(error, errors.TapeheadError) else None
    if row is None or not isinstance(error, errors.TapeheadError):
        return Status(
            Code.INTERNAL, INTERNAL, f"internal error; see the log, {request_id=!s}", {"request_id": request_id}
        )
    return Status(
        row.code,
        row.reason,
        _cut(error.told, MESSAGE_BYTES),
        bounded_facts(error.facts),
        error.retry_after if isinstance(error, errors.RetryLater) else None,
        _cut(_violated_field(error), FACT_BYTES) if row.code is Code.INVALID_ARGUMENT else None,
    )


def step_error(error: errors.TapeheadError, step: int, committed_step: int) -> pb.StepError:
    """Returns the in-band form of `error`, which the step numbered `step` met; 0 if its number could not be read."""
    status = status_of(error, request_id="")
    metadata = dict(status.metadata)
    if status.retry_after is not None:
        metadata["retry_after_seconds"] = f"{status.retry_after:.3f}"
    return pb.StepError(
        step=step,
        code=status.code.value[0],
        reason=status.reason,
        message=status.message,
        metadata=metadata,
        committed_step=committed_step,
    )


def bounded_facts(facts: Mapping[str, str]) -> dict[str, str]:
    """Returns the facts, cut so that they fit into a trailer; those that come first have the first claim."""
    kept: dict[str, str] = {}
    room = FACTS_BYTES
    for name, value in facts.items():
        text = _cut(value, min(FACT_BYTES, room))
        room -= len(text.encode())
        kept[name] = text
    return kept


def _cut(text: str, limit: int) -> str:
    """Returns `text` in at most `limit` bytes of UTF-8, and valid as UTF-8 even if it was not."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: max(0, limit - 3)].decode(errors="ignore") + "..." if limit >= 3 else ""


def _violated_field(error: errors.TapeheadError) -> str:
    facts = error.facts
    if "tensor" in facts:
        return f"inputs['{facts['tensor']}']"
    return facts.get("field") or facts.get("what") or ""


def page() -> str:
    """Returns docs/errors.md."""
    return "\n".join([_PREFACE, *(_line(row) for row in _rows_by_code()), _INTERNAL_LINE, ""])


def _rows_by_code() -> Iterator[Row]:
    yield from sorted(TABLE, key=lambda row: row.code.value[0])


def _line(row: Row) -> str:
    meaning = (inspect.getdoc(row.error) or "").split("\n")[0]
    cause = f" Cause: {row.cause}." if row.cause else ""
    retry = "RetryInfo" if issubclass(row.error, errors.RetryLater) else ""
    bad_request = "BadRequest" if row.code is Code.INVALID_ARGUMENT else ""
    in_band = "yes" if row.in_band else ""
    return f"| `{row.code.name}` | `{row.reason}` | {meaning}{cause} | {retry or bad_request} | {in_band} |"


_PREFACE = """\
# Errors

<!-- Generated by `python -m service.api.status` (make proto); do not edit. -->

An error is the status of its RPC. Its details are a `google.rpc.Status` in the trailer `grpc-status-details-bin`, with
exactly one `google.rpc.ErrorInfo`: `reason` as below, `domain` always `tapehead`, and the facts of the message under
stable keys in `metadata`. `BadRequest` names the field; `RetryInfo` says when to try again. Reasons and keys are part
of the contract, texts are not. Every call, failed or not, carries the trailer `tapehead-request-id`.

On a stream, an error marked *in-band* is a `StepError` in place of the step's answer: that step changed nothing and the
stream goes on. It carries the same code, reason and metadata, and `retry_after_seconds` for `RetryInfo`. A message
that is out of the protocol (not `open` first, or `open` twice) ends the stream with `MALFORMED_MESSAGE`.

With `OUTCOME_UNKNOWN` the commit had begun: send the same number again, and the answer settles it.

| code | reason | when | detail | in-band |
|---|---|---|---|---|"""

_INTERNAL_LINE = (
    f"| `INTERNAL` | `{INTERNAL}` | A bug of the server: only `request_id` is told, which finds it in the log. | | |"
)


if __name__ == "__main__":
    print(page(), end="")

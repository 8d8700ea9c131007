"""From what gRPC reports to errors."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest

from service.api import status as service_status
from tapehead import errors
from tapehead.status import from_rpc_error, from_step_error
from tapehead.v1.session_service_pb2 import StepError

DETAILS = "grpc-status-details-bin"


def rpc_error(code: grpc.StatusCode, text: str, details: bytes | None = None) -> grpc.aio.AioRpcError:
    trailers = grpc.aio.Metadata(*([(DETAILS, details)] if details is not None else []))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, text, "")


def test_every_reason_of_the_server_has_its_class_and_code():
    for row in service_status.TABLE:
        if row.reason == "HEALTH_NAME_UNKNOWN":  # of the standard health service, which this client leaves to others
            continue
        kind = errors.error_class(row.reason)

        assert kind is not errors.TapeheadError, row.reason
        if row.reason != "OUTCOME_UNKNOWN":  # whose code says what cut the wait short
            assert kind.code is row.code, row.reason


def test_details_are_read():
    status = service_status.Status(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "OVER_CAPACITY", "full", {"limit": "3"}, retry_after=1.25
    )

    error = from_rpc_error(rpc_error(status.code, "full", status.serialize()), "here:1")

    assert type(error) is errors.OverCapacity
    assert (str(error), error.metadata, error.retry_after) == ("full", {"limit": "3"}, 1.25)


def test_the_servers_code_beats_that_of_a_reset_on_the_way():
    status = service_status.Status(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "away", {}, retry_after=0.5)

    error = from_rpc_error(rpc_error(grpc.StatusCode.CANCELLED, "reset", status.serialize()), "here:1")

    assert type(error) is errors.StoreUnavailable
    assert error.code is grpc.StatusCode.UNAVAILABLE


def test_an_unknown_reason_keeps_its_facts():
    status = service_status.Status(grpc.StatusCode.ABORTED, "TOMORROW", "later", {"a": "b"})

    error = from_rpc_error(rpc_error(status.code, "later", status.serialize()), "here:1")

    assert type(error) is errors.TapeheadError
    assert (error.reason, error.code, error.metadata) == ("TOMORROW", grpc.StatusCode.ABORTED, {"a": "b"})


@pytest.mark.parametrize(
    ("code", "text", "sentence"),
    [
        (grpc.StatusCode.UNAVAILABLE, "a: b: refused", "the server at here:1 cannot be reached: refused"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "late", "the server at here:1 did not answer in time"),
        (grpc.StatusCode.UNIMPLEMENTED, "no", "the server at here:1 does not offer this call: no"),
        (grpc.StatusCode.UNKNOWN, "", "the call to here:1 ended with UNKNOWN: no details"),
    ],
)
def test_what_comes_without_a_reason_is_a_sentence_too(code: grpc.StatusCode, text: str, sentence: str):
    assert str(from_rpc_error(rpc_error(code, text), "here:1")) == sentence
    assert str(from_rpc_error(rpc_error(code, text, b"\xff not a status"), "here:1")) == sentence


def test_errors_of_a_stream():
    error = from_step_error(
        StepError(step=3, code=11, reason="STEP_GAP", message="ahead", metadata={"expected_step": "2"})
    )

    assert type(error) is errors.StepGap
    assert (error.code, error.metadata, error.retry_after) == (
        grpc.StatusCode.OUT_OF_RANGE,
        {"expected_step": "2"},
        None,
    )
    odd = StepError(code=99, reason="TOMORROW", metadata={"retry_after_seconds": "soon"})
    assert from_step_error(odd).code is grpc.StatusCode.UNKNOWN

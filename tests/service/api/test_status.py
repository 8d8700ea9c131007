"""The table of errors is complete, and what it gives fits on the wire."""

from __future__ import annotations

import importlib
import pkgutil

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

import service.api.errors
from service import errors
from service.api.status import TABLE, Row, bounded_facts, is_in_band, row_of, status_of, step_error
from service.errors import TapeheadError
from service.hosting.errors import ModelBroken, ModelInUse
from service.sessions.standing import SequenceNotStarted
from service.store.lmdb_copy import Unsuitable
from service.store.redis_fitness import RedisUnfit
from service.store.transfer import Busy
from service.store.volume import DurabilityRefused, StoreHeld

AT_THE_START = {StoreHeld, DurabilityRefused, RedisUnfit}  # they end the process before there is anybody to tell
AT_THE_TERMINAL = {Busy, Unsuitable}  # of commands for operators, which serve nobody


def leaves(kind: type[TapeheadError]) -> set[type[TapeheadError]]:
    """The subclasses that have no subclasses, of the product alone."""
    children = [child for child in kind.__subclasses__() if child.__module__.startswith("service.")]
    return set().union(*map(leaves, children)) if children else {kind}


SAMPLES: tuple[TapeheadError, ...] = (
    errors.InvalidField("window", "1 to 1024", 5000),
    errors.ShapeMismatch("x", "[2]", [3]),
    errors.DtypeMismatch("x", "float32", "int64"),
    errors.NonFiniteInput("x", (1,), float("nan")),
    errors.TooLong("bytes of a message", 10, 11),
    errors.UnknownWord("kitchn", ("kitchen",)),
    errors.MalformedMessage("what"),
    errors.InvalidPageToken(),
    errors.QuotaExceeded("sessions", 3, retry_after=5.0),
    errors.TokenInvalid("none"),
    errors.RoleRequired("operator", "reading the statistics of the server"),
    *(SequenceNotStarted("oip/m/1", cause) for cause in ("unknown", "expired", "ended")),
    ModelBroken("m", 2, "step.onnx: expected another hash"),
    ModelInUse("m", 1, 3),
    errors.SessionNotFound("s"),
    errors.SessionExpired("s"),
    errors.ModelNotFound("m", 3),
    service.api.errors.HealthNameUnknown("n"),
    errors.SessionExists("s"),
    errors.ModelMismatch("s", "a", "b"),
    errors.FingerprintMismatch("s", "a", "b"),
    errors.SessionReplaced("s"),
    errors.StepPayloadMismatch(3, 2, 4),
    errors.SessionTakenOver("s", same_client=True),
    errors.StateConflict("s"),
    errors.StepGap(9, 4),
    errors.AnswerReleased(1, 9, 5),
    errors.StepNotKept("s", 4, (0, 2, 9)),
    errors.OverCapacity("streams", 3, retry_after=0.25),
    errors.StoreFull("no space"),
    errors.Draining(),
    errors.StoreUnavailable("away"),
    errors.StateCorrupt("record"),
    errors.StateRegressed("s", 3, 4),
    errors.DeadlineExceeded("s", 4),
    errors.OutcomeUnknown("s", 4, "deadline"),
    errors.OutcomeUnknown("s", 4, "cancelled"),
    errors.OutcomeUnknown("s", 4, "store"),
    errors.NotSupported("this"),
    errors.ModelNonFinite("y", 4),
    errors.ModelFailed("m", 4),
)


def test_every_error_of_the_domain_is_in_the_table() -> None:
    """Whoever adds an error, in whatever room, decides here what callers see of it."""
    for module in pkgutil.walk_packages(service.__path__, "service."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    assert leaves(TapeheadError) - AT_THE_START - AT_THE_TERMINAL == {row.error for row in TABLE}


def test_every_row_has_a_sample() -> None:
    """The tests below speak about the whole table."""
    assert {row_of(error) for error in SAMPLES} == set(TABLE)


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: row_of(error).reason)
def test_a_status_carries_code_reason_and_facts(error: TapeheadError) -> None:
    row = row_of(error)
    assert isinstance(row, Row)
    status = status_pb2.Status.FromString(status_of(error, "id").serialize())
    info, bad_request, retry = _details(status)

    assert status.code == row.code.value[0]
    assert (info.reason, info.domain) == (row.reason, "tapehead")
    assert dict(info.metadata) == error.facts
    assert (bad_request is not None) == (row.code is grpc.StatusCode.INVALID_ARGUMENT)
    assert (retry is not None) == isinstance(error, errors.RetryLater)
    assert status.message == error.told


@pytest.mark.parametrize("kind", [errors.StoreUnavailable, errors.StoreFull])
def test_what_is_wrong_with_the_store_is_for_the_log_alone(kind: type[TapeheadError]) -> None:
    error = kind("Redis at redis://10.0.0.7:6379/0: NOPERM this user has no permissions")
    message = status_of(error, "id").message

    assert "10.0.0.7" in error.message
    assert "10.0.0.7" not in message
    assert "NOPERM" not in message
    assert message.startswith("the store is ")


def test_a_bad_request_names_the_field() -> None:
    status = status_pb2.Status.FromString(status_of(errors.ShapeMismatch("x", "[2]", [3]), "id").serialize())
    _, bad_request, _ = _details(status)
    assert bad_request is not None

    assert bad_request.field_violations[0].field == "inputs['x']"


def test_what_is_not_the_domains_keeps_its_text_to_itself() -> None:
    """An exception's text may hold anything; only the id under which the log has it may leave."""
    status = status_of(RuntimeError("the password is 1234"), "ab12")

    assert (status.code, status.reason, dict(status.metadata)) == (
        grpc.StatusCode.INTERNAL,
        "INTERNAL",
        {"request_id": "ab12"},
    )
    assert b"1234" not in status.serialize()


def test_a_domain_error_that_is_not_in_the_table_is_internal() -> None:
    assert status_of(TapeheadError("a secret"), "id").reason == "INTERNAL"


def test_a_subclass_takes_the_row_of_its_base() -> None:
    class Nearer(errors.StepGap): ...

    row = row_of(Nearer(3, 1))

    assert row is not None
    assert row.reason == "STEP_GAP"


@pytest.mark.parametrize("filler", ["x", "ß", "\u6f22", "\U0001f40b", "\udc80"])
def test_details_stay_below_four_kibibytes(filler: str) -> None:
    """Also in percent-encoding and in base64, message and details together stay below what proxies allow."""
    error = TapeheadError.__new__(errors.InvalidField)
    TapeheadError.__init__(error, filler * 100_000, **{f"fact{i}": filler * 100_000 for i in range(20)})

    status = status_of(error, "id")

    assert len(status.serialize()) < 4096
    assert len(status.message.encode()) <= 512


def test_facts_are_cut_at_whole_characters() -> None:
    facts = bounded_facts({"first": "\u6f22" * 1000, "second": "ok"})

    assert facts["first"].endswith("...")
    assert set(facts["first"][:-3]) == {"\u6f22"}
    assert facts["second"] == "ok"


def test_step_errors_come_from_the_same_table() -> None:
    error = step_error(errors.OverCapacity("steps", 4, retry_after=0.25), 7, 6)

    assert (error.step, error.committed_step, error.reason) == (7, 6, "OVER_CAPACITY")
    assert error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert dict(error.metadata) == {"what": "steps", "limit": "4", "retry_after_seconds": "0.250"}


def test_only_what_concerns_a_single_step_is_in_band() -> None:
    in_band = {row.reason for row in TABLE if row.in_band}

    assert in_band >= {"STEP_GAP", "STEP_PAYLOAD_MISMATCH", "ANSWER_RELEASED", "MODEL_NON_FINITE", "SHAPE_MISMATCH"}
    assert not is_in_band(errors.SessionTakenOver("s", same_client=True))
    assert not is_in_band(errors.StoreUnavailable("away"))
    assert not is_in_band(errors.StateCorrupt("record"))


def _details(
    status: status_pb2.Status,
) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.BadRequest | None, error_details_pb2.RetryInfo | None]:
    """Each kind of detail, which may be there once."""
    found = {}
    for detail in status.details:
        kind = detail.TypeName()
        assert kind not in found
        found[kind] = detail
    unpacked = []
    for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
        message = kind()
        detail = found.get(kind.DESCRIPTOR.full_name)
        unpacked.append(message if detail is not None and detail.Unpack(message) else None)
    return tuple(unpacked)  # type: ignore[return-value]

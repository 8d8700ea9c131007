"""Request parameters: where in which sequence a request stands, and what else it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import InvalidField, NotSupported
from ...sessions.sequences import sequence_id_text
from .messages import pb

EMPTY_FINAL = "triton_enable_empty_final_response"  # the one of its kind that is known; there is one answer each anyway


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the parameters of a request say; the others mean nothing here and are passed over."""

    sequence_id: str = ""  # empty: in no sequence
    start: bool = False
    end: bool = False
    expected_step: int | None = None
    timeout: float | None = None  # seconds


def read_parameters(given: Mapping[str, pb.InferParameter]) -> Parameters:
    """Reads a request's parameters. Raises InvalidField for one of the wrong kind, NotSupported for an unknown
    `triton_` one."""
    for name in given:
        if name.startswith("triton_") and name != EMPTY_FINAL:
            raise NotSupported(f"the request parameter '{name}' is not known here")
    _value(given, EMPTY_FINAL, "bool_param")
    sequence_id = _value(given, "sequence_id", "int64_param", "string_param")
    timeout = _value(given, "timeout", "int64_param")
    expected_step = _value(given, "expected_step", "int64_param")
    if expected_step is not None and expected_step < 1:
        raise InvalidField("parameters['expected_step']", "1 or more", expected_step)
    if timeout is not None and timeout < 0:
        raise InvalidField("parameters['timeout']", "microseconds, 0 for none", timeout)
    return Parameters(
        sequence_id=sequence_id_text(sequence_id) if sequence_id else "",  # 0 and "" are in no sequence
        start=bool(_value(given, "sequence_start", "bool_param")),
        end=bool(_value(given, "sequence_end", "bool_param")),
        expected_step=expected_step,
        timeout=timeout / 1e6 if timeout else None,
    )


def _value(given: Mapping[str, pb.InferParameter], name: str, *kinds: str) -> Any:
    """The parameter's value, None if it is not given. Raises InvalidField for one of another kind."""
    if name not in given:  # a look by index would make it
        return None
    kind = given[name].WhichOneof("parameter_choice")
    if kind not in kinds:
        raise InvalidField(f"parameters['{name}']", " or ".join(kinds), kind or "nothing")
    return getattr(given[name], kind)

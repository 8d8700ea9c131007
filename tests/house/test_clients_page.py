"""What docs/clients.md tells people of other languages is what the code does."""

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from service.api.status import TABLE
from service.sessions import hashing as served
from tapehead import hashing as sent

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
VECTORS = re.findall(r"^\| (step|chunk|tell|rewind)\b.*`([0-9a-f]{64})` \|$", PAGE, re.M)


ENDS = PAGE.partition("| the stream ended with | do |\n|---|---|\n")[2].partition("\n\n")[0].splitlines()


def test_streams_end_with_codes_and_reasons_of_the_table() -> None:
    known = {(row.code.name, row.reason) for row in TABLE if not row.in_band} | {
        ("OUT_OF_RANGE", "ANSWER_RELEASED"),  # in-band for a step, the end for an open
        ("RESOURCE_EXHAUSTED", "OVER_CAPACITY"),
        ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
    }
    reasons = {row.reason for row in TABLE}
    told = {
        (line.split()[1], reason)
        for line in ENDS
        for reason in re.findall(r"`([A-Z_]+)`", line.split(" | ")[0])
        if reason in reasons
    }

    assert told <= known
    assert {("NOT_FOUND", "SESSION_NOT_FOUND"), ("NOT_FOUND", "SESSION_EXPIRED")} < told
    assert ENDS[-1].startswith("| anything else |")


@pytest.mark.parametrize("side", [sent, served], ids=["client", "service"])
def test_hashes_on_the_page_are_those_of_the_code(side: ModuleType) -> None:
    """A change here breaks every client that was not written by us."""
    single = np.array([1.0, -2.5], np.float32)
    computed = {
        "step": side.step_hash(0, {"x": single}, []),
        "chunk": side.step_hash(2, {"x": single.reshape(2, 1)}, ["y", "tape"]),
        "tell": side.tell_hash(["Mary moved to the bathroom.", "John went to the hallway."]),
    }

    assert {name: value.hex() for name, value in computed.items()} == {
        name: value for name, value in VECTORS if name != "rewind"
    }


def test_the_hash_of_a_rewind_on_the_page_is_that_of_the_code() -> None:
    assert served.rewind_hash(5).hex() == dict(VECTORS)["rewind"]

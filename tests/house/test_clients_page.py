"""What docs/clients.md tells people of other languages is what the code does."""

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from service.sessions import hashing as served
from tapehead import hashing as sent

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
VECTORS = re.findall(r"^\| (step|chunk|tell|rewind)\b.*`([0-9a-f]{64})` \|$", PAGE, re.M)


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

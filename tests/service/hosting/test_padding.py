"""Padding adds rows that nobody sees."""

import numpy as np
import pytest

from service.hosting import Arrays
from service.hosting.padding import padded


class Doubler:
    """Doubles; remembers how many rows it was given."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def run(self, entry: str, inputs: Arrays, state: Arrays, outputs: tuple[str, ...]) -> tuple[Arrays, Arrays]:
        self.rows.append(len(inputs["x"]))
        return {"y": inputs["x"] * 2}, {"total": state["total"] + inputs["x"]}


@pytest.mark.parametrize(
    ("rows", "multiple", "run"), [(1, 2, 2), (2, 2, 2), (3, 2, 4), (1, 8, 8), (9, 8, 16), (5, 1, 5)]
)
def test_a_batch_is_filled_up_to_the_next_multiple(rows: int, multiple: int, run: int):
    """Every row comes back in its place, and no other."""
    inner = Doubler()
    x = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)

    outputs, state = padded(inner, {"step": multiple}).run("step", {"x": x}, {"total": 10 * x}, ("y",))

    assert inner.rows == [run]
    np.testing.assert_array_equal(outputs["y"], 2 * x)
    np.testing.assert_array_equal(state["total"], 11 * x)


def test_what_needs_no_padding_gets_none():
    """An entry of which nothing is said, and a model of which nothing is said."""
    inner = Doubler()
    x = np.ones((3, 1), np.float32)

    padded(inner, {"tell": 4}).run("step", {"x": x}, {"total": x}, ("y",))

    assert inner.rows == [3]
    assert padded(inner, {}) is inner

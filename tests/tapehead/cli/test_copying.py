"""The copy task on the command line."""

from __future__ import annotations

import numpy as np
import pytest

from tapehead.cli.copying import compare, copy_sequence


def test_a_copy_sequence_shows_bits_then_the_delimiter_then_nothing():
    rows = copy_sequence(5, seed=3)

    assert rows.shape == (11, 9)
    assert rows.dtype == np.float32
    assert set(np.unique(rows[:5, :8])) == {0.0, 1.0}
    assert not rows[:5, 8].any()
    np.testing.assert_array_equal(rows[5], [0] * 8 + [1])
    assert not rows[6:].any()
    np.testing.assert_array_equal(rows, copy_sequence(5, seed=3))
    assert (rows != copy_sequence(5, seed=4)).any()


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.9), (-4.0, 0.3)])
def test_wrong_bits_are_counted_in_probabilities_and_in_logits(low: float, high: float):
    sequence = copy_sequence(3, seed=1)
    outputs = np.full((7, 8), low)
    outputs[-3:][sequence[:3, :8] > 0.5] = high

    assert compare(sequence, outputs)[1] == 0
    outputs[-1, :2] = np.where(outputs[-1, :2] == low, high, low)
    drawing, wrong = compare(sequence, outputs)

    assert wrong == 2
    assert len(drawing.splitlines()) == 4


def test_a_model_of_another_task_is_refused():
    with pytest.raises(ValueError, match=r"expected 8 outputs a step for the copy task, got shape \[2\]"):
        compare(copy_sequence(3, seed=1), np.zeros((7, 2)))

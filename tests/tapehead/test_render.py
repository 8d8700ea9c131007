"""Drawings in plain text."""

from __future__ import annotations

import numpy as np
import pytest

from tapehead import render


def test_a_tape_is_darkest_where_its_values_are_highest():
    assert render.tape(np.array([[0.0, 0.25, 0.5], [0.7, 0.9, 1.0]])) == " ░▒\n▓██"


def test_a_tape_keeps_its_scale_where_one_is_given():
    assert render.tape(np.array([0.5]), low=0, high=1) == "▒"
    assert render.tape(np.array([-9.0, 9.0]), low=0, high=1) == " █"


def test_a_tape_of_one_value_or_of_nan_is_blank():
    assert render.tape(np.zeros((2, 2))) == "  \n  "
    assert render.tape(np.array([np.nan, 1.0]), low=0, high=1) == " █"


def test_a_tape_has_two_axes():
    with pytest.raises(ValueError, match=r"expected \[slots, width\], got an array of shape \[1, 1, 1\]"):
        render.tape(np.zeros((1, 1, 1)))


def test_bits():
    assert render.bits(np.array([[0, 1], [0.6, 0.4]])) == "·█\n█·"
    assert render.bits(np.array([-1.0, 0.1]), threshold=0) == "·█"


@pytest.mark.parametrize(
    ("share", "drawn"), [(0, "    "), (1, "████"), (0.5, "██  "), (0.01, "    "), (0.03, "▏   "), (2, "████")]
)
def test_a_bar_fills_its_width(share: float, drawn: str):
    assert render.bar(share, 4) == drawn


def test_attention_stands_beside_its_sentences():
    drawn = render.attention(["a b", "c"], [[1.0, 0.0], [0.0, 0.4]], width=5)

    assert drawn.splitlines() == ["     hop 1  hop 2", "a b  █████", "c           ██"]


def test_forgotten_sentences_have_no_bars():
    drawn = render.attention(["old", "new"], [[1.0]], width=1)

    assert drawn.splitlines()[1:] == ["old", "new  █████"]

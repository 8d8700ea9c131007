"""Counting the differences of two texts."""

from __future__ import annotations

import pytest

from training.tasks.word_errors import WordErrors, word_errors


@pytest.mark.parametrize(
    ("expected", "written", "errors"),
    [
        ("abc", "abc", WordErrors(wrong=0, missing=0, extra=0, repeated=0)),
        ("abc", "adc", WordErrors(wrong=1, missing=0, extra=0, repeated=0)),
        ("abc", "ac", WordErrors(wrong=0, missing=1, extra=0, repeated=0)),
        ("abc", "abbc", WordErrors(wrong=0, missing=0, extra=1, repeated=1)),
        ("abc", "abcc", WordErrors(wrong=0, missing=0, extra=1, repeated=1)),
        ("abc", "aabc", WordErrors(wrong=0, missing=0, extra=1, repeated=1)),
        ("abc", "abxc", WordErrors(wrong=0, missing=0, extra=1, repeated=0)),
        ("aabb", "ab", WordErrors(wrong=0, missing=2, extra=0, repeated=0)),
        ("abc", "", WordErrors(wrong=0, missing=3, extra=0, repeated=0)),
        ("", "xx", WordErrors(wrong=0, missing=0, extra=2, repeated=2)),
        ("", "", WordErrors(wrong=0, missing=0, extra=0, repeated=0)),
    ],
)
def test_each_kind_is_counted(expected: str, written: str, errors: WordErrors) -> None:
    found = word_errors([*map(ord, expected)], [*map(ord, written)])

    assert found == errors
    assert found.all == errors.wrong + errors.missing + errors.extra

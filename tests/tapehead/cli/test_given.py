"""What a session is given once, as people type it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tapehead.cli.given import given, in_words
from tapehead.v1.manifest_pb2 import EntryTensor
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, DATA_TYPE_INT64

WORDS = ("<pad>", "a", "bird", "sings")
TENSORS = [
    EntryTensor(name="tokens", dtype=DATA_TYPE_INT64, shape=[4], words=WORDS),
    EntryTensor(name="first", dtype=DATA_TYPE_INT64, words=WORDS),
    EntryTensor(name="image", dtype=DATA_TYPE_FLOAT32, shape=[2]),
]


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("tokens=a bird sings", [1, 2, 3, 0]),
        ('tokens=["a", 2, 3, 0]', [1, 2, 3, 0]),
        ("tokens=[1, 2, 3, 0]", [1, 2, 3, 0]),
        ("first=bird", 2),
        ("first=2", 2),
        ("image=[0.5, 1]", [0.5, 1]),
    ],
)
def test_words_and_numbers_are_read(pair: str, value: object):
    name = pair.partition("=")[0]

    assert given([pair], "--start", TENSORS) == {name: value}


def test_an_array_is_read_from_a_file(tmp_path: Path):
    np.save(tmp_path / "image.npy", np.array([1, 2], np.float32))

    [array] = given([f"image={tmp_path / 'image.npy'}"], "--start", TENSORS).values()

    assert np.array_equal(np.asarray(array), [1, 2])


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("tokens", "--start tokens: expected tokens=VALUE, first=VALUE"),
        ("rate=8", "--start rate=8: expected tokens=VALUE"),
        ("tokens=a fish", "the model does not know the word 'fish'"),
        ("image=bird", "--start image: expected FILE.npy or JSON, got 'bird'"),
    ],
)
def test_what_cannot_be_read_is_named(pair: str, message: str):
    with pytest.raises(ValueError, match=message):
        given([pair], "--start", TENSORS)


def test_ids_are_shown_as_words():
    assert in_words(np.array([1, 3, 9]), WORDS) == "a sings 9"

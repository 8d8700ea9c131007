"""Tensors go in and come out as the same bits, or as StateCorrupt."""

from __future__ import annotations

import gc
import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.errors import StateCorrupt
from service.store.record import DTYPES, StateLayout, decode_tensors, encode_tensors
from tapehead.bundle.limits import MAX_TENSORS

GOLDEN = Path(__file__).parent / "golden"

relaxed = settings(deadline=None, max_examples=50)  # the machine may be busy

GOLDEN_DTYPES = [
    "float32",
    "float64",
    "int32",
    "int64",
    "bool",
    "float16",
    "uint8",
    "int8",
]  # of version 1, as first written
arrays = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: hnp.arrays(np.dtype(name), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
)
tensors = st.dictionaries(st.text(max_size=8), arrays, max_size=4)


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def layout_of(named: dict[str, np.ndarray]) -> StateLayout:
    return StateLayout([(name, array.dtype, array.shape) for name, array in named.items()])


def example() -> dict[str, np.ndarray]:
    """One tensor of every type, with values that show byte order and row order."""
    return {name: (np.arange(6) % 2 + np.arange(6) * 17 % 5).astype(name).reshape(2, 3) for name in GOLDEN_DTYPES}


@relaxed
@given(tensors, st.binary(max_size=20))
def test_tensors_come_back_bit_for_bit(named: dict[str, np.ndarray], note: bytes) -> None:
    decoded, decoded_note = decode_tensors(encode_tensors(named, note))

    assert decoded_note == note
    assert list(decoded) == list(named)
    assert all(same_bits(decoded[name], named[name]) for name in named)


@relaxed
@given(tensors)
def test_a_state_comes_back_bit_for_bit(named: dict[str, np.ndarray]) -> None:
    layout = layout_of(named)

    decoded = layout.decode(layout.encode(list(named.values())))

    assert all(same_bits(one, other) for one, other in zip(decoded, named.values(), strict=True))


@relaxed
@given(tensors, st.integers(0, 4))
def test_states_of_a_batch_are_written_as_each_would_be_alone(named: dict[str, np.ndarray], rows: int) -> None:
    layout = layout_of(named)
    batch = [np.stack([np.roll(array, row) for row in range(rows)] or [array])[:rows] for array in named.values()]

    alone = [layout.encode([array[row] for array in batch]) for row in range(rows)]

    assert layout.encode_rows(rows, batch) == alone
    assert layout.encode_rows(rows, [np.asfortranarray(array) for array in batch]) == alone


def test_states_of_a_batch_that_do_not_fit_are_refused() -> None:
    layout = StateLayout([("total", np.dtype(np.float32), (2,))])

    for batch in (np.zeros((3, 1), np.float32), np.zeros((3, 2), np.float64), np.zeros((2, 2), np.float32)):
        with pytest.raises(ValueError, match="total"):
            layout.encode_rows(3, [batch])


@relaxed
@given(tensors, st.data())
def test_a_changed_record_is_refused(named: dict[str, np.ndarray], data: st.DataObject) -> None:
    record = bytearray(encode_tensors(named, b"note"))
    place = data.draw(st.integers(0, len(record) - 1))
    record[place] ^= data.draw(st.integers(1, 255))

    with pytest.raises(StateCorrupt):
        decode_tensors(bytes(record))


def test_every_flipped_bit_and_every_cut_is_refused() -> None:
    layout = layout_of(example())
    record = layout.encode(list(example().values()))

    for place in range(len(record)):
        flipped = bytearray(record)
        flipped[place] ^= 1 << place % 8
        with pytest.raises(StateCorrupt):
            layout.decode(bytes(flipped))
        with pytest.raises(StateCorrupt):
            layout.decode(record[:place])
    with pytest.raises(StateCorrupt):
        layout.decode(record + b"\0")


def test_strides_do_not_matter() -> None:
    batch = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    layout = StateLayout([("tape", np.dtype(np.float32), (3, 2))])

    (decoded,) = layout.decode(layout.encode([batch[:, :, 1].T]))

    assert np.array_equal(decoded, batch[:, :, 1].T)


def test_a_decoded_state_cannot_be_written_to() -> None:
    layout = StateLayout([("tape", np.dtype(np.float32), (3,))])

    (decoded,) = layout.decode(layout.encode([np.zeros(3, np.float32)]))

    assert not decoded.flags.writeable


def test_another_byte_order_is_translated() -> None:
    decoded, _ = decode_tensors(encode_tensors({"x": np.array([1.5, -2.0], dtype=">f4")}))

    assert decoded["x"].tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    "other",
    [
        StateLayout([("tape", np.dtype("float32"), (4, 3))]),
        StateLayout([("tape", np.dtype("int32"), (3, 4))]),
        StateLayout([("memory", np.dtype("float32"), (3, 4))]),
        StateLayout([]),
        StateLayout([("tape", np.dtype("float32"), (3, 4)), ("more", np.dtype("float32"), (0,))]),
    ],
)
def test_a_state_of_another_layout_is_refused_and_named(other: StateLayout) -> None:
    layout = StateLayout([("tape", np.dtype("float32"), (3, 4))])

    with pytest.raises(StateCorrupt, match=r"tape: float32\[3, 4\]"):
        other.decode(layout.encode([np.zeros((3, 4), np.float32)]))


def test_a_state_is_not_an_answer() -> None:
    layout = StateLayout([("x", np.dtype("float32"), (1,))])

    with pytest.raises(StateCorrupt, match="something else"):
        layout.decode(encode_tensors({"x": np.zeros(1, np.float32)}))


@pytest.mark.parametrize(
    "wrong", [[], [np.zeros((4, 3), np.float32)], [np.zeros((3, 4), np.float64)], [np.zeros((3, 4), np.float32)] * 2]
)
def test_arrays_that_do_not_fit_are_a_mistake_of_the_caller(wrong: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="expected"):
        StateLayout([("tape", np.dtype("float32"), (3, 4))]).encode(wrong)


def test_a_type_that_the_contract_does_not_know_is_named() -> None:
    with pytest.raises(ValueError, match=r"'z'.*complex64"):
        encode_tensors({"z": np.zeros(1, np.complex64)})


def test_the_size_of_a_layout_counts_elements_alone() -> None:
    assert layout_of({"a": np.zeros((3, 4), np.float32), "b": np.zeros(2, np.int64)}).size == 3 * 4 * 4 + 2 * 8


def test_records_of_version_1_still_read() -> None:
    state = layout_of(example()).decode((GOLDEN / "state-1.bin").read_bytes())
    answer, note = decode_tensors((GOLDEN / "tensors-1.bin").read_bytes())

    assert all(same_bits(one, other) for one, other in zip(state, example().values(), strict=True))
    assert all(same_bits(answer[name], array) for name, array in example().items())
    assert note == b"a note"


def described(rows: list[list[object]], size: int = 0) -> bytes:
    """A record of an answer with this description, under a checksum that is right."""
    text = json.dumps(rows, separators=(",", ":")).encode()
    body = struct.pack("<4sHHII", b"TpTn", 1, 0, len(text), 0) + text
    body += bytes(-len(body) % 16) + bytes(size)
    return body + struct.pack("<I", crc32c(body))


def test_what_others_described_is_not_kept_in_memory() -> None:
    """The description of each record is another, as long as it may be, or longer."""

    def read(number: int) -> None:
        decode_tensors(described([[f"{number} {'x' * 60_000}", "float32", [0]]]))
        with pytest.raises(StateCorrupt, match="description"):
            decode_tensors(described([[f"{number} {'x' * 70_000}", "float32", [0]]]))

    read(0)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(1, 60):
        read(number)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert after - before < 10**6


def test_as_many_tensors_as_a_bundle_may_have_are_described() -> None:
    named = {f"{number:03} {'x' * 124}": np.zeros((1,) * 9, np.float64) for number in range(MAX_TENSORS)}

    assert list(decode_tensors(encode_tensors(named))[0]) == list(named)


def test_another_version_is_refused_by_name() -> None:
    record = bytearray((GOLDEN / "tensors-1.bin").read_bytes())
    record[4] = 2

    with pytest.raises(StateCorrupt, match="expected format version 1, got 2"):
        decode_tensors(bytes(record))

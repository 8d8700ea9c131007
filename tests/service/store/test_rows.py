"""Rows come back as what they were, or as StateCorrupt."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import StateCorrupt
from service.store.base import Answer, Birth, Head, Tombstone
from service.store.rows import (
    HeadRow,
    KeptRow,
    TombstoneRow,
    decode_answer,
    decode_head,
    decode_kept,
    decode_tombstone,
    encode_answer,
    encode_birth,
    encode_head,
    encode_kept,
    encode_tombstone,
)

GOLDEN = Path(__file__).parent / "golden"

relaxed = settings(deadline=None, max_examples=50)  # the machine may be busy
KEY = b"ada\0story"

counts = st.integers(0, 2**63)
times = st.floats(0, 1e12)
texts = st.text(max_size=20)
hashes = st.binary(max_size=32)
births = st.builds(
    Birth,
    texts,
    counts,
    st.integers(1, 10**6),
    times,
    hashes,
    st.dictionaries(texts, texts, max_size=3),
    counts,
    counts,
    counts,
)
steps = st.lists(counts, max_size=5, unique=True).map(lambda each: tuple(sorted(each)))
heads = st.builds(Head, births, hashes, counts, counts, counts, texts, texts, times, times, counts, steps)
tombstones = st.builds(Tombstone, hashes, hashes, st.booleans(), times)
answers = st.builds(Answer, counts, counts, hashes, st.binary(max_size=100))

BIRTH = Birth(
    "ntm-copy", 3, 64, 2592000.0, bytes(range(32)), {"für": "Ada"}, origin_step=40, keep_every=16, keep_most=2
)
HEAD = HeadRow(
    Head(
        birth=BIRTH,
        incarnation=bytes(range(16)),
        epoch=2,
        committed_step=70,
        oldest_kept_answer=7,
        last_writer="client",
        fingerprint="cpu",
        create_time=1000.5,
        last_use_time=2000.25,
        state_bytes=12345,
        kept_steps=(40, 48, 64),
    ),
    number=11,
    state_checksum=0xDEADBEEF,
    due=2593000.5,
    birth=encode_birth(BIRTH),
)
STONE = TombstoneRow(Tombstone(bytes(range(16)), bytes(range(32)), True, 5000.5), number=11, due=609800.5)
ANSWER = Answer(68, 3, bytes(range(32)), b"payload")
KEPT = KeptRow(bytes(range(16)), b"state")

RECORDS: dict[str, tuple[object, bytes, Callable[[bytes, bytes], object]]] = {
    "head": (HEAD, encode_head(KEY, HEAD), decode_head),
    "tombstone": (STONE, encode_tombstone(KEY, STONE), decode_tombstone),
    "answer": (ANSWER, encode_answer(KEY, ANSWER), decode_answer),
    "kept": (KEPT, encode_kept(KEY, KEPT), decode_kept),
}


@relaxed
@given(st.binary(max_size=200), heads, counts, st.integers(0, 2**32 - 1), times)
def test_a_head_comes_back(key: bytes, head: Head, number: int, checksum: int, due: float) -> None:
    row = HeadRow(head, number, checksum, due, encode_birth(head.birth))

    assert decode_head(key, encode_head(key, row)) == row


@relaxed
@given(st.binary(max_size=200), tombstones, counts, times)
def test_a_tombstone_comes_back(key: bytes, stone: Tombstone, number: int, due: float) -> None:
    row = TombstoneRow(stone, number, due)

    assert decode_tombstone(key, encode_tombstone(key, row)) == row


@relaxed
@given(st.binary(max_size=200), answers)
def test_an_answer_comes_back(key: bytes, answer: Answer) -> None:
    assert decode_answer(key, encode_answer(key, answer)) == answer


@relaxed
@given(st.binary(max_size=200), hashes, st.binary(max_size=100))
def test_a_kept_state_comes_back(key: bytes, incarnation: bytes, state: bytes) -> None:
    row = KeptRow(incarnation, state)

    assert decode_kept(key, encode_kept(key, row)) == row


@pytest.mark.parametrize("kind", RECORDS)
def test_every_changed_byte_and_every_cut_is_refused(kind: str) -> None:
    _, row, decode = RECORDS[kind]
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for place in range(len(row)):
        changed = bytearray(row)
        changed[place] ^= chance.randint(1, 255)
        for damaged in (bytes(changed), row[:place], row + row[:place] + b"\0"):
            with pytest.raises(StateCorrupt):
                decode(KEY, damaged)


@pytest.mark.parametrize("kind", RECORDS)
def test_a_row_in_anothers_place_is_refused(kind: str) -> None:
    _, row, decode = RECORDS[kind]

    with pytest.raises(StateCorrupt, match="another's place"):
        decode(b"bob\0story", row)


@pytest.mark.parametrize("kind", RECORDS)
def test_rows_of_version_1_still_read(kind: str) -> None:
    expected, _, decode = RECORDS[kind]

    assert decode(KEY, (GOLDEN / f"{kind}-1.bin").read_bytes()) == expected


@pytest.mark.parametrize("kind", RECORDS)
def test_another_version_is_refused_by_name(kind: str) -> None:
    _, row, decode = RECORDS[kind]

    with pytest.raises(StateCorrupt, match="expected row version 1, got 2"):
        decode(KEY, row[:4] + b"\2\0" + row[6:])

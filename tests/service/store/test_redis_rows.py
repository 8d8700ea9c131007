"""Keys that a cluster can shard, and a mark that later versions must read as this one wrote it."""

from __future__ import annotations

import re

import pytest

from service.errors import StateCorrupt
from service.store.base import Key
from service.store.redis_index import Entry, after, from_ends, from_ids
from service.store.redis_rows import Mark, decode_mark, place_of

PLACE = place_of(Key("ada", "story/1"))
# Written by a script in Redis 7.0.15.
GOLDEN = b"e89e30cf871578edd61b4f01d8c13f847fd89c38 1 62f0 3 1795241564.25 7 the client's own"


def test_the_mark_that_was_written_once_is_read_for_ever() -> None:
    assert decode_mark(PLACE, GOLDEN) == Mark(b"\x62\xf0", 3, 1795241564.25, 7, "the client's own")


@pytest.mark.parametrize("cut", range(0, len(GOLDEN), 9))
def test_a_cut_mark_is_refused(cut: int) -> None:
    with pytest.raises(StateCorrupt):
        decode_mark(PLACE, GOLDEN[:cut])


@pytest.mark.parametrize(
    ("owner", "session_id"), [("ada", "s"), ("a{b}c", "s"), ("}", "{}"), ("a/b", "c"), ("a", "b/c"), ("a b%", "é~:")]
)
def test_the_keys_of_a_session_share_one_tag_that_is_theirs_alone(owner: str, session_id: str) -> None:
    place = place_of(Key(owner, session_id))

    tags = [re.findall(rb"\{([^}]*)\}", key) for key in place.keys]
    assert tags[0] == tags[1] == tags[2]
    assert len(tags[0]) == 1
    assert tags[0][0]
    assert all(key.count(b"{") == key.count(b"}") == 1 for key in place.keys)


def test_different_sessions_have_different_keys() -> None:
    keys = [Key("a/b", "c"), Key("a", "b/c"), Key("a%2Fb", "c"), Key("a", "b%2Fc"), Key("{a", "b/c"), Key("a", "b")]

    assert len({place_of(key).session for key in keys}) == len(keys)


def test_entries_of_the_indexes_are_read_as_they_were_written_and_sort_by_id() -> None:
    entries = [Entry(Key("ada", session_id), b"\x01\xff", 1795241564.25) for session_id in ("a", "a/b", "ab", "é")]

    assert [from_ids("ada", entry.in_ids) for entry in entries] == entries
    assert [from_ends(entry.in_ends) for entry in entries] == entries
    assert sorted(entry.in_ids for entry in entries) == [entry.in_ids for entry in entries]
    assert entries[0].in_ids < after("a")[1:] < entries[1].in_ids

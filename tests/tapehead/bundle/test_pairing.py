"""States are told from other inputs by their names, unless a name says nothing."""

import pytest

from tapehead.bundle import BundleError
from tapehead.bundle.pairing import Value, common_root, fits, is_plain, pair_states
from tapehead.v1.tensor_pb2 import DataType

FLOAT, INT = DataType.DATA_TYPE_FLOAT32, DataType.DATA_TYPE_INT64

SURE = [
    ("state.h", "next_state.h"),
    ("state.x", "next_state.x"),
    ("h_in", "h_out"),
    ("hidden_input", "hidden_output"),
    ("in_cache", "out_cache"),
    ("past_k", "present_k"),
    ("past_key_values.0.key", "present.0.key"),
    ("past_key_values.3.value", "present_key_values.3.value"),
    ("prev_h", "next_h"),
    ("h", "new_h"),
    ("h", "updated_h"),
    ("hidden_state", "final_hidden_state"),
    ("h0", "hn"),
    ("h_0", "h_n"),
    ("c0", "cn"),
    ("state", "stateN"),
    ("h", "Hn"),
    ("cached_key_3", "new_cached_key_3"),
    ("conv_cache", "conv_cache_out"),
    ("conv_cache", "new_conv_cache"),
    ("stateIn", "stateOut"),
    ("processed_lens", "new_processed_lens"),
]
NEVER = [
    ("input", "output"),
    ("input_1", "output_1"),
    ("x", "x_out"),
    ("audio_in", "audio_out"),
    ("input_ids", "output_ids"),
    ("c0", "hn"),
    ("cached_key_3", "new_cached_key_2"),
    ("past_key_values.0.key", "present.1.key"),
    ("past_key_values.0.key", "present.0.value"),
]


def pair(inputs, outputs, told=None, not_states=()):
    return pair_states(inputs, outputs, told or {}, not_states)


def state(name, *shape, dtype=FLOAT):
    return Value(name, dtype, shape)


@pytest.mark.parametrize(("before", "after"), SURE)
def test_names_that_say_so_are_a_pair(before: str, after: str):
    found = pair([state(before, "N", 8)], [state(after, "N", 8)])

    assert found.sure == {before: after}


@pytest.mark.parametrize(("before", "after"), NEVER)
def test_names_that_say_nothing_are_never_sure(before: str, after: str):
    found = pair([state(before, "N", 8)], [state(after, "N", 8)])

    assert not found.sure
    assert not common_root(before, after) or is_plain(common_root(before, after))


@pytest.mark.parametrize("other", [state("hn", "N", 9), state("hn", "N"), state("hn", "N", 8, dtype=INT)], ids=str)
def test_a_name_alone_is_no_pair(other: Value):
    found = pair([state("h0", "N", 8)], [other])

    assert not found.sure
    assert "not its type and shape" in found.considered[0]


def test_what_the_output_leaves_open_counts_from_the_input():
    assert fits(state("h", 2, "N", 8), Value("hn", FLOAT, None))
    assert fits(state("h", 2, "N", 8), state("hn", None, None, None))
    assert not fits(Value("h", FLOAT, None), state("hn", 8))


def test_two_outputs_of_one_name_are_a_doubt():
    found = pair([state("h", 8)], [state("new_h", 8), state("next_h", 8)])

    assert not found.sure
    assert found.possible == {"h": ("new_h", "next_h")}


def test_type_and_shape_alone_are_a_doubt_unless_the_input_is_plain():
    found = pair([state("memory", 8), state("x", 8)], [state("what", 8)])

    assert found.possible == {"memory": ("what",)}
    assert len(found.considered) == 2


def test_what_was_told_is_believed_where_it_fits():
    given, results = [state("a", 8), state("b", 8)], [state("p", 8), state("q", 8)]

    assert pair(given, results, {"a": "q"}, {"b"}).sure == {"a": "q"}
    assert not pair(given, results, {"a": "q"}, {"b"}).possible
    for told, missing in (({"c": "q"}, "input 'c'"), ({"a": "r"}, "output 'r'"), ({"a": "q", "b": "q"}, "another")):
        with pytest.raises(BundleError, match=missing):
            pair(given, results, told)

"""The canonical hash: recorded values, and the service's own implementation beside ours."""

from __future__ import annotations

import random

import numpy as np
import pytest

from service.sessions import hashing as service_hashing
from tapehead import hashing

X = np.array([1.0, -0.0, np.pi], np.float32)

GOLDEN_STEPS = [
    (0, {"x": X}, [], "b883c6a7551884dfc849b6a1035a94f948bec6560dbbf4ac7bd361199f104071"),
    (
        2,
        {"b": np.arange(4, dtype=np.int64).reshape(2, 2), "a": np.array([True, False])},
        ["y", "tape", "y"],
        "073c4584d51b12348b7fc2e1771d333a087d1f84413c1242c88477d9cc9601e0",
    ),
    (
        1,
        {"π": np.zeros((1, 0, 2), np.float64)},
        ["β"],
        "ea3f0b71ba54d224034a83a6133140a973ad20729b0bf952012dc94b0d88d24b",
    ),
    (0, {"scalar": np.array(7, np.uint8)}, [], "db084898152f074562ed01d2ca19eb494c4ac280e8b440c0041676c2d1d3484c"),
]
GOLDEN_TELLS = [
    (["Mary went to the kitchen."], "d403562bb243bf3a10fd4c465e1f75dc69827c31e4d3e6260165cf07aced8a7b"),
    (["", "日本"], "21e7521cf2aa6c1fc40ecc3a173f8c7b5c8ff30649ce902baa43df5c046fcd40"),
    ([], "80087a46e3fcd5e407621b2a0ed384845c66968bf64e6802ec1d52b3629e3ab0"),
]


@pytest.mark.parametrize(("step_count", "inputs", "outputs", "expected"), GOLDEN_STEPS)
def test_recorded_hashes_of_steps(step_count: int, inputs: dict[str, np.ndarray], outputs: list[str], expected: str):
    """What stores hold and other languages compute: these values may never change."""
    assert hashing.step_hash(step_count, inputs, outputs).hex() == expected
    assert service_hashing.step_hash(step_count, inputs, outputs).hex() == expected


@pytest.mark.parametrize(("sentences", "expected"), GOLDEN_TELLS)
def test_recorded_hashes_of_sentences(sentences: list[str], expected: str):
    assert hashing.tell_hash(sentences).hex() == expected
    assert service_hashing.tell_hash(sentences).hex() == expected


def test_order_and_memory_layout_do_not_matter():
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    one = hashing.step_hash(3, {"a": rows, "b": X}, ["y", "z"])

    assert one == hashing.step_hash(3, {"b": X, "a": np.asfortranarray(rows)}, ["z", "y", "z"])
    assert one == hashing.step_hash(3, {"b": X.astype(">f4"), "a": rows[::-1][::-1]}, ["y", "z"])


@pytest.mark.parametrize(
    "other",
    [
        (1, {"x": X}, []),
        (0, {"z": X}, []),
        (0, {"x": X[:2]}, []),
        (0, {"x": X[None]}, []),
        (0, {"x": X.view(np.int32)}, []),
        (0, {"x": np.abs(X)}, []),  # -0.0 is another input than 0.0
        (0, {"x": X}, ["y"]),
    ],
)
def test_everything_that_makes_another_step_makes_another_hash(
    other: tuple[int, dict[str, np.ndarray], list[str]],
):
    assert hashing.step_hash(*other) != hashing.step_hash(0, {"x": X}, [])


def test_client_and_service_agree_on_random_steps():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    for _ in range(100):
        inputs = {}
        for name in rng.choice(list("abcdef"), size=rng.integers(1, 4), replace=False):
            dtype = rng.choice(["float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool"])
            inputs[str(name)] = (rng.normal(size=rng.integers(0, 4, size=rng.integers(0, 4))) * 100).astype(dtype)
        outputs = [str(name) for name in rng.choice(list("xyz"), size=rng.integers(0, 4))]
        count = int(rng.integers(0, 5))

        assert hashing.step_hash(count, inputs, outputs) == service_hashing.step_hash(count, inputs, outputs)

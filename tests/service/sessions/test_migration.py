"""A session goes on with another version of its model where that fits, and says what does not."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.errors import ModelMismatch, ModelNotFound, SessionExists, StateCorrupt
from service.hosting.model import Arrays, Model, TensorSpec
from service.sessions.lifecycle import CreateSpec
from service.sessions.live import state_layout
from service.sessions.migration import check_compatible, moved_state
from service.store.base import Key
from tapehead.v1.manifest_pb2 import Entry, EntryTensor, Manifest, QuestionAnswering
from tapehead.v1.tensor_pb2 import DataType
from tests.service.fakes import OWNER, Accumulator, Server, fake_model, memory_server, serving

FLOAT = DataType.DATA_TYPE_FLOAT32
FORK = Key(OWNER, "fork")


class Doubler(Accumulator):
    """As the accumulator, with other weights: everything that is added counts twice."""

    def run(self, entry: str, inputs: Arrays, state: Arrays, outputs: tuple[str, ...]) -> tuple[Arrays, Arrays]:
        return super().run(entry, {"x": 2 * inputs["x"]}, state, outputs)


def tensor(name: str, *shape: int, **more: Any) -> EntryTensor:
    return EntryTensor(name=name, dtype=FLOAT, shape=shape, **more)


def version(number: int, *entries: Entry, **changes: Any) -> Model:
    step = Entry(name="step", inputs=[tensor("x", 2)], outputs=[tensor("y", 2), tensor("twice", 2, inspection=True)])
    manifest = Manifest(model_id="accumulator", version=number, entries=entries or [step])
    return replace(fake_model(Doubler() if number > 1 else None), version=number, manifest=manifest, **changes)


def stepping(*inputs: EntryTensor, gives: tuple[EntryTensor, ...] = (tensor("y", 2),)) -> Entry:
    return Entry(name="step", inputs=inputs, outputs=gives)


def test_other_weights_and_other_outputs_for_inspection_fit() -> None:
    watched = stepping(tensor("x", 2), gives=(tensor("y", 2), tensor("gates", 9, inspection=True)))

    check_compatible("s", version(1), version(2))
    check_compatible("s", version(1), version(2, watched, Entry(name="chunk")))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (version(2, stepping(tensor("x", 3))), r"with input 'x' of 'step': float32 \[2\], not .* float32 \[3\]"),
        (version(2, stepping(tensor("x", 2), tensor("z", 2))), r"with input 'z' of 'step': none, not .* float32 \[2\]"),
        (version(2, stepping(tensor("x", 2, words=["a"]))), "with input 'x' of 'step': "),
        (version(2, stepping(tensor("x", 2), gives=())), "with output 'y' of 'step': "),
        (version(2, stepping(tensor("x", 2, constant=True))), "with constant 'x' of 'step': none"),
        (version(2, *version(1).manifest.entries, Entry(name="start")), "with entry 'start': none, not .*: there"),
        (
            version(2, state=(TensorSpec("total", np.dtype(np.float64), (2,)),)),
            r"with state 'total': float32 \[2\], not 'accumulator' version 2, with state 'total': float64 \[2\]",
        ),
        (version(2, state=()), "with state 'total': float32"),
    ],
    ids=lambda one: "" if isinstance(one, Model) else one[:30],
)
def test_the_first_tensor_that_differs_is_named(other: Model, said: str) -> None:
    with pytest.raises(ModelMismatch, match=said):
        check_compatible("s", version(1), other)


def test_other_words_do_not_fit() -> None:
    """A story that was told in one list of words means something else in another."""
    one, other = version(1), version(2)
    one.manifest.question_answering.CopyFrom(QuestionAnswering(words=["", "mary", "john"]))
    other.manifest.question_answering.CopyFrom(QuestionAnswering(words=["", "john", "mary"]))

    with pytest.raises(ModelMismatch, match="with words and answers: "):
        check_compatible("s", one, other)


def test_a_state_is_kept_in_the_order_of_the_other_version() -> None:
    a, b = (TensorSpec(name, np.dtype(np.float32), (1,)) for name in "ab")
    old, new = version(1, state=(a, b)), version(2, state=(b, a))
    values = [np.array([1], np.float32), np.array([2], np.float32)]

    check_compatible("s", old, new)
    moved = moved_state("s", state_layout(old).encode(values), old, new)

    assert [array.tolist() for array in state_layout(new).decode(moved)] == [[2], [1]]
    with pytest.raises(StateCorrupt):
        moved_state("s", b"", old, new)


def test_a_state_that_has_outgrown_the_other_version_is_refused() -> None:
    old, new = (
        version(n, state=(TensorSpec("past", np.dtype(np.float32), (-1,), maximum=(most,)),))
        for n, most in ((1, 8), (2, 4))
    )
    long = state_layout(old).encode([np.zeros(5, np.float32)])
    short = state_layout(old).encode([np.zeros(4, np.float32)])

    check_compatible("s", old, new)
    assert moved_state("s", short, old, new) == short
    with pytest.raises(ModelMismatch, match=r"with 5 entries in state 'past', not .*, which has room for 4"):
        moved_state("s", long, old, new)


async def stepped(server: Server) -> Key:
    """A session of version 1 after two steps, its total 2."""
    key = Key(OWNER, "s")
    await server.lifecycle.create(OWNER, CreateSpec("s", "accumulator", 1, keep_every=1, keep_most=4))
    for step in (1, 2):
        await server.step(key, step, 1.0)
    return key


async def test_a_fork_goes_on_with_the_version_it_names_and_the_session_with_its_own() -> None:
    server = memory_server(version(1), version(2))
    async with serving(server):
        key = await stepped(server)
        view = await server.lifecycle.fork(key, None, None, CreateSpec("fork", model_version=2))
        earlier = await server.lifecycle.fork(key, None, 1, CreateSpec("earlier", model_version=2))
        plain = await server.lifecycle.fork(key, None, None, CreateSpec("plain"))

        assert await server.step(FORK, 3, 1.0) == 4.0  # 2, and 1 that counts twice
        assert await server.step(key, 3, 1.0) == 3.0
        assert await server.step(Key(OWNER, "earlier"), 2, 1.0) == 3.0
        versions = [one.head.birth.model_version for one in (view, earlier, plain)]

    assert versions == [2, 2, 1]


async def test_a_version_that_does_not_fit_makes_nothing_and_leaves_the_session_alone() -> None:
    server = memory_server(version(1), version(2, stepping(tensor("x", 3))))
    async with serving(server):
        key = await stepped(server)
        with pytest.raises(ModelMismatch):
            await server.lifecycle.fork(key, None, None, CreateSpec("fork", model_version=2))
        with pytest.raises(ModelNotFound):
            await server.lifecycle.fork(key, None, None, CreateSpec("fork", model_version=3))

        assert await server.store.head(FORK) is None
        assert await server.step(key, 3, 1.0) == 3.0


async def test_a_repeat_is_known_by_its_version_too() -> None:
    server = memory_server(version(1), version(2))
    request_id = str(uuid.uuid4())
    async with serving(server):
        key = await stepped(server)
        spec = CreateSpec("fork", model_version=2, request_id=request_id)
        first = await server.lifecycle.fork(key, None, None, spec)
        again = await server.lifecycle.fork(key, None, None, spec)
        with pytest.raises(SessionExists):
            await server.lifecycle.fork(key, None, None, replace(spec, model_version=1))

    assert first.head.incarnation == again.head.incarnation

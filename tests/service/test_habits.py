"""Sessions of models with the habits of models in the wild: what they are given once, what they begin with, carry and
grow, and how their chunks run."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.errors import (
    InvalidField,
    ModelFailed,
    ModelNonFinite,
    SessionExists,
    SessionNotFound,
    StepNotKept,
    TooLong,
)
from service.hosting import load_model
from service.hosting.model import Model
from service.sessions.constants import Constants, Given
from service.sessions.hashing import step_hash
from service.sessions.identity import CreateSpec
from service.sessions.messages import StepAnswer, StepMessage
from service.sessions.portable import ImportSpec, Portable
from service.sessions.states import kept_steps
from service.store.base import Head, Key, Record
from service.store.memory import MemoryStore
from tapehead.bundle import add_chunk
from tests.bundles import write_accumulator
from tests.quirks import write_counting, write_growing, write_rated, write_summing, write_windowed
from tests.service.fakes import OWNER, Server, SilentObserver, fake_model, memory_server, serving

OneModel = Callable[..., Model]


@pytest.fixture
def loaded(tmp_path: Path) -> OneModel:
    def load(writer: Callable[..., Path], **options: object) -> Model:
        return load_model(writer(tmp_path, **options), max_batch=4)

    return load


def message(step: int, x: object = None, *, dtype: type = np.float32, count: int = 0) -> StepMessage:
    """A step, or a chunk of `count`, with the input `x`, or none."""
    sent = {} if x is None else {"x": np.array(x, dtype)}
    inputs = sent if count else {name: array[np.newaxis] for name, array in sent.items()}
    output = ("word",) if x is None else ("y",)
    return StepMessage(step, count, inputs, output, step_hash(count, sent, output))


async def create(server: Server, model_id: str, session_id: str, request_id: str = "", **given: object) -> Key:
    def read(_: Model) -> Given:
        arrays = {name: np.array(value) for name, value in given.items()}
        return Given(start_inputs=arrays) if model_id == "counting" else Given(Constants.of(arrays))

    await server.lifecycle.create(OWNER, CreateSpec(session_id, model_id, request_id=request_id, given=read))
    return Key(OWNER, session_id)


async def step(server: Server, key: Key, sent: StepMessage) -> StepAnswer:
    answer, _ = await server.calls.step(key, None, sent, "client")
    return answer


async def word(server: Server, key: Key, number: int) -> int:
    return int((await step(server, key, message(number))).outputs["word"])


class Recorder(SilentObserver):
    """Remembers which entries ran, and for how many rows."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, int]] = []

    def batch_run(self, model_id: str, entry: str, size: int, seconds: float) -> None:
        self.runs.append((entry, size))


def record(server: Server) -> Recorder:
    recorder = Recorder()
    server.engine._observer = recorder
    return recorder


# --- given once -------------------------------------------------------------------------------------------------------


async def test_sessions_with_other_constants_share_a_model_but_no_batch(loaded: OneModel):
    server = memory_server(loaded(write_rated))
    recorder = record(server)
    keys = [await create(server, "rated", name, rate=rate) for name, rate in (("a", 8), ("b", 16), ("c", 8))]
    waiting = [asyncio.create_task(step(server, key, message(1, [1, 2]))) for key in keys]
    await asyncio.sleep(0)
    async with serving(server):
        answers = [(await one).outputs["y"].tolist() for one in waiting]

    assert answers == [[8, 16], [16, 32], [8, 16]]
    assert sorted(recorder.runs) == [("step", 1), ("step", 2)]


async def test_constants_outlive_the_server_and_go_with_a_fork(loaded: OneModel):
    store, model = MemoryStore(), loaded(write_rated)
    first = Server(store, model)
    async with serving(first):
        key = await create(first, "rated", "a", rate=8)
        await step(first, key, message(1, [1, 2]))
    second = Server(store, model)
    async with serving(second):
        fork = (await second.lifecycle.fork(key, None, None, CreateSpec("f"))).session_id
        answers = [await step(second, one, message(2, [1, 0])) for one in (key, Key(OWNER, fork))]

    assert [answer.outputs["y"].tolist() for answer in answers] == [[16, 16], [16, 16]]


async def test_a_session_without_its_constants_is_refused_by_name(loaded: OneModel):
    server = memory_server(loaded(write_rated))

    with pytest.raises(InvalidField, match="rate"):
        await server.lifecycle.create(OWNER, CreateSpec("a", "rated"))


# --- what a session begins with ---------------------------------------------------------------------------------------


async def test_a_session_goes_on_from_what_start_gave(loaded: OneModel):
    server = memory_server(loaded(write_counting))
    async with serving(server):
        key = await create(server, "counting", "a", first=2)

        assert [await word(server, key, number) for number in (1, 2, 3)] == [3, 0, 1]
        chunk = await step(server, key, message(4, count=2))
        assert chunk.outputs["word"].tolist() == [2, 3]


async def test_step_0_stays_what_start_gave(loaded: OneModel):
    store, model = MemoryStore(), loaded(write_counting)
    first = Server(store, model)
    async with serving(first):
        key = await create(first, "counting", "a", first=2)
        assert [await word(first, key, number) for number in (1, 2)] == [3, 0]
    server = Server(store, model)
    async with serving(server):
        await server.calls.rewind(key, None, 3, 0, "client")
        assert await word(server, key, 4) == 3
        await server.lifecycle.fork(key, None, 0, CreateSpec("f"))
        assert await word(server, Key(OWNER, "f"), 1) == 3
        await server.calls.rewind(Key(OWNER, "f"), None, 2, 0, "client")
        assert await word(server, Key(OWNER, "f"), 3) == 3


async def test_a_fork_of_a_later_step_and_forks_of_it_go_back_to_what_start_gave(loaded: OneModel):
    """Also after their sources are gone, as files, and however many states they keep since."""
    server = memory_server(loaded(write_counting))
    portable = Portable(server.store, server.repository, server.lifecycle.creation)
    async with serving(server):
        source = await create(server, "counting", "a", first=2)
        await word(server, source, 1)
        await server.lifecycle.fork(source, None, 1, CreateSpec("f", keep_every=1, keep_most=2))
        fork = Key(OWNER, "f")
        for number in range(2, 8):
            await word(server, fork, number)
        await server.lifecycle.fork(fork, None, None, CreateSpec("g"))
        _, data = await portable.export_session(fork, None, 0)
        await portable.import_session(OWNER, ImportSpec("h"), data)
        await server.lifecycle.delete(source, None)

        assert kept_steps((await server.lifecycle.get(fork, None)).head) == (0, 1, 6, 7)
        for name, steps in (("f", (0, 1, 6, 7)), ("g", (0, 7)), ("h", (0, 1, 6, 7))):
            key = Key(OWNER, name)
            assert kept_steps((await server.lifecycle.get(key, None)).head) == steps
            await server.calls.rewind(key, None, 8, 0, "client")
            assert await word(server, key, 9) == 3
            assert await word(server, key, 10) == 0


async def test_a_fork_without_what_start_gave_goes_back_to_its_origin(loaded: OneModel):
    """As an earlier release wrote them."""
    server = memory_server(loaded(write_counting))
    async with serving(server):
        key = await create(server, "counting", "a", first=2)
        await word(server, key, 1)
        source = await server.store.load(key)
        assert isinstance(source, Record)
        birth = replace(source.head.birth, origin_step=1)
        await server.store.create(Key(OWNER, "old"), birth, bytes(16), source.state, "")
        await server.lifecycle.fork(Key(OWNER, "old"), None, None, CreateSpec("f"))

        for name in ("old", "f"):
            with pytest.raises(StepNotKept) as refused:
                await server.calls.rewind(Key(OWNER, name), None, 2, 0, "client")
            assert refused.value.facts["kept_steps"] == "1"


async def test_a_start_that_fails_creates_nothing(loaded: OneModel):
    server = memory_server(loaded(write_counting))
    async with serving(server):
        with pytest.raises(ModelFailed):
            await create(server, "counting", "a", first=9)
        with pytest.raises(SessionNotFound):
            await server.lifecycle.get(Key(OWNER, "a"), None)
        await create(server, "counting", "a", first=0)  # the server goes on


async def test_a_repeated_creation_begins_once_and_only_with_the_same_inputs(loaded: OneModel):
    server = memory_server(loaded(write_counting))
    recorder, request = record(server), str(uuid.uuid4())
    async with serving(server):
        key = await create(server, "counting", "a", request, first=2)
        await word(server, key, 1)
        await create(server, "counting", "a", request, first=2)
        with pytest.raises(SessionExists):
            await create(server, "counting", "a", request, first=3)
        found = await server.lifecycle.get(key, None)

    assert found.head.committed_step == 1
    assert [entry for entry, _ in recorder.runs].count("start") == 2  # the refused one ran, and left nothing


# --- state outside the graph, and state that grows --------------------------------------------------------------------


async def test_the_end_of_an_input_goes_with_the_session(loaded: OneModel):
    store, model = MemoryStore(), loaded(write_windowed)
    server = Server(store, model)
    async with serving(server):
        key = await create(server, "windowed", "a")
        first = await step(server, key, message(1, [1, 2, 3]))
        chunk = await step(server, key, message(2, [[4, 5, 6], [7, 8, 9]], count=2))
    again = Server(store, model)
    async with serving(again):
        await again.lifecycle.fork(key, None, None, CreateSpec("f"))
        on_fork = await step(again, Key(OWNER, "f"), message(4, [0, 0, 0]))
        await again.calls.rewind(key, None, 4, 0, "client")
        rewound = await step(again, key, message(5, [1, 2, 3]))

    assert first.outputs["y"].tolist() == [0, 0, 1, 2, 3]
    assert chunk.outputs["y"].tolist() == [[2, 3, 4, 5, 6], [5, 6, 7, 8, 9]]
    assert on_fork.outputs["y"].tolist() == [8, 9, 0, 0, 0]
    assert rewound.outputs["y"].tolist() == [0, 0, 1, 2, 3]


async def test_a_state_grows_up_to_its_maximum_and_no_further(loaded: OneModel):
    store, model = MemoryStore(), loaded(write_growing, maximum=3)
    server = Server(store, model)
    async with serving(server):
        keys = [await create(server, "growing", name) for name in "ab"]
        for key in keys:
            await step(server, key, message(1, [1, 0]))
        await step(server, keys[0], message(2, [[2, 0], [3, 0]], count=2))
    again = Server(store, model)
    async with serving(again):
        with pytest.raises(TooLong, match="'past'"):
            await step(again, keys[0], message(4, [4, 0]))
        at, state = await again.lifecycle.read_state(keys[0], None, step=None)
        other = await step(again, keys[1], message(2, [5, 0]))

    assert (at, state["past"].tolist()) == (3, [[1, 0], [2, 0], [3, 0]])
    assert other.outputs["y"].tolist() == [6, 0]


# --- chunks -----------------------------------------------------------------------------------------------------------


async def test_a_chunk_is_a_few_runs_and_chunks_of_one_length_share_them(loaded: OneModel):
    server = memory_server(loaded(write_summing))
    recorder = record(server)
    keys = [await create(server, "summing", name) for name in "ab"]
    x = np.arange(2 * 43).reshape(43, 2)
    waiting = [asyncio.create_task(step(server, key, message(1, x, dtype=np.int64, count=43))) for key in keys]
    await asyncio.sleep(0)
    async with serving(server):
        answers = [(await one).outputs["y"] for one in waiting]

    assert recorder.runs == [("chunk", 2), ("chunk", 2), ("chunk", 2), ("step", 2)]  # 32, 8, 2 and 1 steps
    for answer in answers:
        assert np.array_equal(answer, np.cumsum(x, axis=0))


async def test_outputs_that_chunks_do_not_give_come_from_single_steps(tmp_path: Path):
    folder = write_accumulator(tmp_path)
    add_chunk(folder)
    server = memory_server(load_model(folder, max_batch=4))
    recorder = record(server)
    x = np.ones((5, 3), np.float32)
    async with serving(server):
        key = await create(server, "accumulator", "a")
        plain = await step(server, key, message(1, x, count=5))
        looked = await step(server, key, message(6, x, count=5)._replace(outputs=("y", "sum")))

    assert [entry for entry, _ in recorder.runs] == ["chunk", "chunk", "step", *["step"] * 5]
    assert plain.outputs["y"][:, 0].tolist() == [1, 2, 3, 4, 5]
    assert looked.outputs["sum"][:, 0].tolist() == [18, 21, 24, 27, 30]


class _Chunky:
    """The fake accumulator with an entry `chunk`, which a 666 fails and which overflows to infinity."""

    def run(
        self, entry: str, inputs: dict[str, np.ndarray], state: dict[str, np.ndarray], outputs: tuple[str, ...]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        x = inputs["x"] if entry == "chunk" else inputs["x"][:, np.newaxis]
        if (x == 666).any():
            raise RuntimeError("the planted failure")
        with np.errstate(over="ignore"):
            y = state["total"][:, np.newaxis] + np.cumsum(x, axis=1, dtype=np.float32)
        given = y if entry == "chunk" else y[:, 0]
        return {name: given for name in outputs}, {"total": y[:, -1]}


@pytest.mark.parametrize(
    ("bad", "error"), [(666, ModelFailed), (3e38, ModelNonFinite)], ids=["a run that fails", "a number too large"]
)
async def test_a_step_that_fails_within_a_chunk_is_named(bad: float, error: type[Exception]):
    plain = fake_model()
    model = replace(
        plain,
        runner=_Chunky(),
        entries={**plain.entries, "chunk": replace(plain.entries["step"], name="chunk")},
        chunk_sizes=(4,),
        run_seconds={**plain.run_seconds, "chunk/4": ((1, 0.0), (8, 0.0))},
    )
    server = memory_server(model)
    async with serving(server):
        key, other = await server.create("a"), await server.create("b")
        good = [[1, 1]] * 4
        spoilt = [[1, 1], [3e38, 1], [bad, 1], [1, 1]]
        waiting = asyncio.create_task(step(server, key, message(1, spoilt, count=4)))
        neighbour = await step(server, other, message(1, good, count=4))
        with pytest.raises(error) as failed:
            await waiting
        head = await server.live._store.head(key)

    assert neighbour.outputs["y"][-1].tolist() == [4, 4]
    assert failed.value.facts["step"] == "3"  # type: ignore[attr-defined]
    assert isinstance(head, Head)
    assert head.committed_step == 0

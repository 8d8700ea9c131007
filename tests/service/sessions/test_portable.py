"""Sessions as files: what comes back is the same session under another mark, and nothing else comes in."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.errors import (
    AnswerReleased,
    FingerprintMismatch,
    InvalidField,
    InvalidInput,
    MalformedMessage,
    ModelNotFound,
    QuotaExceeded,
    SessionExists,
    SessionNotFound,
    StepGap,
    StepPayloadMismatch,
)
from service.hosting.repository import load_model
from service.sessions.hashing import tell_hash
from service.sessions.identity import CreateSpec
from service.sessions.listing import Filter, SessionView
from service.sessions.messages import StepMessage
from service.sessions.owners import Quota
from service.sessions.portable import ImportSpec, Portable
from service.sessions.portable_file import decode_snapshot, encode_snapshot
from service.store.base import Answer, Head, Key, Snapshot
from service.store.failing import FailingStore
from service.store.memory import MemoryStore
from service.store.record import StateLayout, encode_tensors
from tests.qa_bundles import qa_ids, write_tiny_qa
from tests.service.fakes import OWNER, Server, fake_model, serving, step_message

KEY = Key(OWNER, "s")
REQUEST = "0b5e7a52-6f0a-4b5a-9c5e-0d5c0f0b0c01"


def portable(server: Server) -> Portable:
    return Portable(server.store, server.repository, server.lifecycle.creation)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """With a session at step 9: 6 single steps and a chunk, kept states, some answers released."""
    made = Server(MemoryStore())
    async with serving(made):
        await made.lifecycle.create(
            OWNER, CreateSpec("s", "accumulator", window=5, labels={"a": "b"}, keep_every=2, keep_most=3, ttl=50.0)
        )
        for step in range(1, 7):
            await made.step(KEY, step, float(step))
        await made.step(KEY, 7, 7.0, 8.0, 9.0, count=3)
        yield made


async def exported(server: Server) -> bytes:
    step, data = await portable(server).export_session(KEY, None, 0)
    assert step == 9
    return data


async def imported(server: Server, data: bytes, session_id: str = "t", **fields: object) -> Key:
    view = await portable(server).import_session(OWNER, ImportSpec(session_id, **fields), data)  # type: ignore[arg-type]
    return Key(OWNER, view.session_id)


def resealed(data: bytes, change: dict[str, object]) -> bytes:
    """The same file with other facts in its header, under a checksum that is right."""
    (size,) = struct.unpack_from("<I", data, 12)
    header = json.loads(data[16 : 16 + size])
    for path, value in change.items():
        place = header
        *way, last = path.split(".")
        for name in way:
            place = place[name]
        place[last] = value
    text = json.dumps(header).encode()
    body = data[:12] + struct.pack("<I", len(text)) + text + data[16 + size : -32]
    return body + hashlib.sha256(body).digest()


async def test_an_imported_session_goes_on_bit_for_bit_with_its_answers_and_kept_states(server: Server) -> None:
    other = Server(MemoryStore())
    async with serving(other):
        key = await imported(other, await exported(server))

        places = ((server, KEY), (other, key))
        old, new = [await one.lifecycle.get(where, None) for one, where in places]
        assert new.head.incarnation != old.head.incarnation
        assert (new.head.epoch, new.head.last_writer) == (0, "")
        for name in ("committed_step", "oldest_kept_answer", "fingerprint", "state_bytes", "kept_steps"):
            assert getattr(new.head, name) == getattr(old.head, name), name
        assert new.head.birth == old.head.birth
        for step in (None, *old.head.kept_steps):
            (_, before), (_, after) = [await one.lifecycle.read_state(where, None, step=step) for one, where in places]
            np.testing.assert_array_equal(before["total"], after["total"])
        for first, count, values in ((6, 0, (6.0,)), (7, 3, (7.0, 8.0, 9.0))):  # exactly once, across the move
            message = step_message(first, *values, count=count)
            answers = [await one.calls.step(where, None, message, "c") for one, where in places]
            assert answers[1][0].replayed
            np.testing.assert_array_equal(answers[0][0].outputs["y"], answers[1][0].outputs["y"])
        with pytest.raises(StepPayloadMismatch):
            await other.step(key, 6, 7.0)
        with pytest.raises(AnswerReleased):
            await other.step(key, 1, 1.0)
        assert await other.step(key, 10, 10.0) == await server.step(KEY, 10, 10.0)
        stream = await other.open("t", last_received_step=6)
        assert [answer.first_step for answer in stream.replays] == [7, 10]
        assert not stream.fingerprint_changed


async def test_a_fork_and_a_fresh_session_travel_too(server: Server) -> None:
    await server.lifecycle.fork(KEY, None, 6, CreateSpec("f"))
    await server.create("new")
    for name in ("f", "new"):
        _, data = await portable(server).export_session(Key(OWNER, name), None, 0)
        key = await imported(server, data, f"{name}-2")
        heads = [(await server.lifecycle.get(Key(OWNER, at), None)).head for at in (name, key.session_id)]
        marks = {name: getattr(heads[0], name) for name in ("incarnation", "create_time", "last_use_time")}
        assert replace(heads[1], **marks) == heads[0]


async def test_a_story_travels(tmp_path: Path) -> None:
    server = Server(MemoryStore(), load_model(write_tiny_qa(tmp_path)))
    async with serving(server):
        await server.lifecycle.create(OWNER, CreateSpec("s", "tiny-qa"))
        told = ["mary went to the garden", "john went to the kitchen"]
        message = StepMessage(
            1, 2, {"sentence": np.stack([qa_ids(line) for line in told])}, (), tell_hash(told), entry="tell"
        )
        await server.calls.step(KEY, None, message, "c")
        _, data = await portable(server).export_session(KEY, None, 0)
        key = await imported(server, data)

        asked = [await server.calls.ask_session(where, None, qa_ids("where is mary")) for where in (KEY, key)]
        np.testing.assert_array_equal(asked[0].outputs["probabilities"], asked[1].outputs["probabilities"])
        assert asked[1].told == 2


async def test_every_flipped_byte_and_every_cut_of_a_file_is_refused_and_writes_nothing(server: Server) -> None:
    data = await exported(server)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    places = {0, 8, 10, 12, 16, len(data) - 1, *(chance.randrange(len(data)) for _ in range(200))}
    damaged = [data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :] for at in places]
    damaged += [data[:length] for length in (0, 1, 15, 16, 50, len(data) - 1, *chance.sample(range(len(data)), 50))]
    damaged += [data + b"\0", data * 2, chance.randbytes(500)]

    for bad in damaged:
        with pytest.raises(MalformedMessage):
            await imported(server, bad)

    assert [view.session_id for view in (await listed(server))] == ["s"]


async def test_a_file_that_was_made_up_is_refused_whatever_it_says(server: Server) -> None:
    """The checksum is right, the facts are not: each is held against the model."""
    data = await exported(server)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    (size,) = struct.unpack_from("<I", data, 12)
    header = json.loads(data[16 : 16 + size])
    paths = [*(name for name in header if name != "birth"), *(f"birth.{name}" for name in header["birth"])]
    values = [-1, 0, 2**70, 1.5, float("nan"), "x", "", None, True, [], [[]], {}, [[1, 2, "zz", 3]], [[9, 1]], "\ud800"]
    for path in paths:
        for value in values:
            try:
                key = await imported(server, resealed(data, {path: value}), f"made-{chance.randrange(2**60)}")
            except (InvalidInput, ModelNotFound):
                continue
            # What got through is a session that works: its numbers go together, and it can be stepped and read.
            head = (await server.lifecycle.get(key, None)).head
            await server.step(key, head.committed_step + 1, 1.0)
            await server.lifecycle.read_state(key, None, step=None)


@pytest.mark.parametrize(
    "change",
    [
        {"birth.model_version": 0},
        {"birth.ttl": 0},
        {"birth.window": 2},
        {"birth.window": 0},
        {"birth.began": True},
        {"birth.keep_most": 1},
        {"birth.keep_every": 0},
        {"birth.origin_step": 10},
        {"birth.origin_step": 5},
        {"committed_step": 8},
        {"committed_step": 10},
        {"birth.labels": {"": "x"}},
    ],
    ids=str,
)
async def test_numbers_that_do_not_go_together_are_refused(server: Server, change: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        await imported(server, resealed(await exported(server), change))


def state(*values: float, name: str = "total", dtype: type = np.float32) -> bytes:
    array = np.array(values, dtype)
    return StateLayout([(name, array.dtype, array.shape)]).encode([array])


def answer(**arrays: np.ndarray) -> Answer:
    return Answer(9, 1, bytes(32), encode_tensors(arrays, b"\1\0"))


ROW = np.ones((1, 2), np.float32)
WRONG_SNAPSHOTS = {
    "a longer state": lambda s: replace(s, state=state(1, 2, 3)),
    "a state of another type": lambda s: replace(s, state=state(1, 2, dtype=np.float64)),
    "a state of another name": lambda s: replace(s, state=state(1, 2, name="other")),
    "a state that is not finite": lambda s: replace(s, state=state(1, float("nan"))),
    "no state": lambda s: replace(s, state=b""),
    "a kept state that is not finite": lambda s: replace(s, kept_states={8: state(float("inf"), 0)}),
    "a kept state of the future": lambda s: replace(s, kept_states={10: state(1, 2)}),
    "answers with a gap": lambda s: replace(s, answers=s.answers[:-2] + s.answers[-1:]),
    "answers that end early": lambda s: replace(s, answers=s.answers[:-1]),
    "a short hash": lambda s: replace(s, answers=(Answer(9, 1, b"x", answer(y=ROW).payload),)),
    "an answer of another output": lambda s: replace(s, answers=(answer(z=ROW),)),
    "an answer of another shape": lambda s: replace(s, answers=(answer(y=np.ones((1, 3), np.float32)),)),
    "an answer of more steps": lambda s: replace(s, answers=(answer(y=np.ones((2, 2), np.float32)),)),
    "an answer of another type": lambda s: replace(s, answers=(answer(y=np.ones((1, 2))),)),
    "an answer that is not finite": lambda s: replace(s, answers=(answer(y=ROW * np.float32("inf")),)),
    "an answer without a note": lambda s: replace(s, answers=(Answer(9, 1, bytes(32), encode_tensors({"y": ROW})),)),
    "an answer of nothing": lambda s: replace(s, answers=(Answer(9, 1, bytes(32), b""),)),
    "constants that nobody takes": lambda s: replace(s, birth=replace(s.birth, constants=encode_tensors({"c": ROW}))),
    "constants that are none": lambda s: replace(s, birth=replace(s.birth, constants=b"zzz")),
}


@pytest.mark.parametrize("name", WRONG_SNAPSHOTS)
async def test_a_file_with_parts_that_are_not_the_models_is_refused(server: Server, name: str) -> None:
    whole = decode_snapshot(await exported(server))
    wrong: Snapshot = WRONG_SNAPSHOTS[name](whole)

    with pytest.raises((MalformedMessage, InvalidField)):
        await imported(server, encode_snapshot(wrong))

    assert await server.store.head(Key(OWNER, "t")) is None
    await imported(server, encode_snapshot(whole))


async def test_an_import_is_repeatable_with_its_request_id(server: Server) -> None:
    data = await exported(server)
    first = await imported(server, data, "", request_id=REQUEST)

    assert await imported(server, data, "", request_id=REQUEST) == first
    with pytest.raises(SessionExists):
        await imported(server, data, "s")
    with pytest.raises(SessionExists):
        await imported(server, resealed(data, {"fingerprint": "e" * 64}), "", request_id=REQUEST)
    await server.lifecycle.delete(first, None)
    with pytest.raises(SessionNotFound):
        await imported(server, data, "", request_id=REQUEST)


async def test_an_import_may_take_the_id_of_a_deleted_session(server: Server) -> None:
    data = await exported(server)
    await server.lifecycle.delete(KEY, None)

    assert (await server.lifecycle.get(await imported(server, data, "s"), None)).head.committed_step == 9


async def test_an_import_that_fails_leaves_nothing(server: Server) -> None:
    data = await exported(server)
    store = FailingStore(MemoryStore())
    other = Server(store)
    store.fail("restore")

    with pytest.raises(Exception, match="an injected fault"):
        await imported(other, data)

    assert await store.head(Key(OWNER, "t")) is None
    await imported(other, data)


async def test_an_import_needs_its_owners_room(server: Server) -> None:
    other = Server(MemoryStore(), quota=Quota(sessions=1))
    data = await exported(server)
    await imported(other, data)

    with pytest.raises(QuotaExceeded):
        await imported(other, data, "u")


async def test_another_model_or_to_the_strict_another_fingerprint_is_refused(server: Server) -> None:
    data = await exported(server)

    with pytest.raises(ModelNotFound):
        await imported(Server(MemoryStore(), fake_model(model_id="another")), data)
    other = resealed(data, {"fingerprint": "e" * 64})
    with pytest.raises(FingerprintMismatch):
        await imported(server, other, strict_fingerprint=True)
    await imported(server, other)
    assert (await server.open("t")).fingerprint_changed


async def test_an_export_changes_nothing_and_waits_for_no_step(server: Server) -> None:
    before = await server.store.head(KEY)
    await exported(server)

    assert await server.store.head(KEY) == before
    with pytest.raises(StepGap):
        await portable(server).export_session(KEY, None, 10)
    with pytest.raises(SessionNotFound):
        await portable(server).export_session(Key("bob", "s"), None, 0)


async def test_an_export_of_a_session_that_is_stepped_meanwhile_is_of_one_step(server: Server) -> None:
    """Between the reading of the head and that of the answers the session goes on: the copy is whole, or made anew."""
    store = FailingStore(server.store)
    gate = store.hold("answers")
    travelling = Portable(store, server.repository, server.lifecycle.creation)

    export = asyncio.create_task(travelling.export_session(KEY, None, 0))
    await gate.wait_reached()
    for step in range(10, 30):
        await server.step(KEY, step, 1.0)
    gate.release()
    step, data = await export

    assert step == 29
    head = (await server.lifecycle.get(await imported(server, data), None)).head
    assert (head.committed_step, head.oldest_kept_answer) == (29, 25)
    assert isinstance(head, Head)


async def listed(server: Server) -> list[SessionView]:
    return (await server.lifecycle.list(OWNER, after="", limit=100, wanted=Filter()))[0]

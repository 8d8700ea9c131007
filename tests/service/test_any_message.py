"""Whatever bytes come in, the answer is a result or an error of the table, and the server goes on."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from service.api.edge import MODEL_SERVICE, QUESTION_SERVICE, SERVER_SERVICE, SESSION_SERVICE
from service.api.status import TABLE
from tests.bundles import write_accumulator
from tests.qa_bundles import write_tiny_qa
from tests.service.api.conftest import info_of
from tests.service.whole_server import serving

METHODS = [
    method
    for service in (SESSION_SERVICE, QUESTION_SERVICE, MODEL_SERVICE, SERVER_SERVICE)
    for method in service.methods
    if not method.client_streaming
]
MESSAGES = 60  # a method
REASONS = {"", *(row.reason for row in TABLE)}  # INTERNAL is not among them

STRINGS: dict[str, list[str]] = {
    "session_id": ["one", "story", "", "x y", "\u00e9", "a" * 200],
    "model_id": ["accumulator", "tiny-qa", "none", ""],
    "name": ["x", "z"],
    "question": ["where is mary", "", "\0"],
    "sentences": ["mary went to the kitchen", "", "zzz qq", "mary " * 50],
}
NUMBERS = [0, 1, 2, 3, -1, 2**31 - 1, -(2**31)]


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a whole server, in this process."""
    write_accumulator(tmp_path / "models")
    write_tiny_qa(tmp_path / "models")
    async with serving(tmp_path / "models") as (_, address), grpc.aio.insecure_channel(address) as channel:
        yield channel


async def test_every_message_has_an_answer_that_the_contract_knows(channel: grpc.aio.Channel) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(MESSAGES):
        for method in METHODS:
            data = chance.randbytes(20) if chance.random() < 0.1 else any_message(method, chance).SerializeToString()
            reason = await reason_of(channel, method, data)
            assert reason in REASONS, (method.name, data, reason)


async def reason_of(channel: grpc.aio.Channel, method: MethodDescriptor, data: bytes) -> str:
    """The reason of the error with which a call ends; "" if it ends well."""
    try:
        await channel.unary_unary(f"/{method.containing_service.full_name}/{method.name}")(data, timeout=20)
    except grpc.aio.AioRpcError as error:
        return info_of(error).reason
    return ""


def any_message(method: MethodDescriptor, chance: random.Random) -> Message:
    message = message_factory.GetMessageClass(method.input_type)()
    fill(message, chance)
    return message


def fill(message: Message, chance: random.Random, depth: int = 0) -> None:
    """Sets some fields to values that are right, wrong or at an edge."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.35:
            continue
        if field.message_type is not None:
            fill_message(message, field, chance, depth)
        elif field.is_repeated:
            getattr(message, field.name).extend(any_value(field, chance) for _ in range(chance.choice((0, 1, 3))))
        else:
            setattr(message, field.name, any_value(field, chance))


def fill_message(message: Message, field: FieldDescriptor, chance: random.Random, depth: int) -> None:
    if field.message_type.GetOptions().map_entry:
        getattr(message, field.name)["key"] = "value"
    elif field.is_repeated:
        for _ in range(chance.choice((0, 1, 2))):
            fill(getattr(message, field.name).add(), chance, depth + 1)
    elif depth < 4:
        getattr(message, field.name).SetInParent()
        fill(getattr(message, field.name), chance, depth + 1)


def any_value(field: FieldDescriptor, chance: random.Random) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return chance.choice((b"", bytes(12), b"\xff\0" * 3))
        case FieldDescriptor.CPPTYPE_STRING:
            return chance.choice(STRINGS.get(field.name, ["", "abc", "00" * 16, "\u6f22" * 50]))
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return chance.choice((0.0, 1.0, 1e300, float("nan")))
        case FieldDescriptor.CPPTYPE_BOOL:
            return chance.random() < 0.5
        case FieldDescriptor.CPPTYPE_ENUM:
            return chance.choice((0, 1, 2, 3, 99))
        case FieldDescriptor.CPPTYPE_UINT32 | FieldDescriptor.CPPTYPE_UINT64:
            return chance.choice((0, 1, 2**31))
        case _:
            return chance.choice(NUMBERS)

"""Messages of a stream, and how it is read to its end."""

from __future__ import annotations

import grpc
import grpc.aio
import numpy as np
import pytest

from tapehead.v1 import session_service_pb2 as pb
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, Tensor

OPEN = pb.StreamStepsRequest(open=pb.StreamOpen(session_id="s", client_id="me"))
PATH = "/tapehead.v1.SessionService/StreamSteps"


def tensor(*values: float) -> Tensor:
    array = np.array(values, np.float32)
    return Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=array.shape, raw=array.tobytes())


def step(number: int, *values: float) -> pb.StreamStepsRequest:
    return pb.StreamStepsRequest(step=pb.StreamStep(step=number, inputs=[tensor(*(values or (1.0, 2.0)))]))


def numbers(result: pb.StepResult, output: int = 0) -> list[float]:
    return np.frombuffer(result.outputs[output].raw, np.float32).tolist()


async def rest(call: grpc.aio.StreamStreamCall) -> list[pb.StreamStepsResponse]:
    """The replies until the call ends; raises the error with which it does."""
    replies = []
    while (reply := await call.read()) is not grpc.aio.EOF:
        replies.append(reply)
    return replies


async def ending(call: grpc.aio.StreamStreamCall) -> grpc.aio.AioRpcError:
    """The error with which a call ends; replies on the way are passed over."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rest(call)
    return caught.value

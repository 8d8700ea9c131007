"""MLServer's side: a runtime that keeps a state for each sequence, and the client that loads it.

Runs inside the peer's own virtual environment, so it imports nothing of Tapehead.

    python mlserver_side.py client ADDRESS unary|stream CALLERS SECONDS     prints calls/s and latencies as JSON
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from statistics import median

import grpc
import numpy as np
import onnxruntime
import uvloop
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.types import InferenceRequest, InferenceResponse

WARM_UP_SECONDS = 0.5
MIN_REPLY_BYTES = 60
STATE = "state."


class StatefulModel(MLModel):  # type: ignore[misc]  # MLServer is not installed where types are checked
    """Steps one onnxruntime session; the state of each sequence lies in a dictionary, as MLServer's users do it."""

    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            self.settings.parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        initial = np.load(self.settings.parameters.uri + ".npz")
        self._initial = {STATE + name: initial[name][np.newaxis] for name in initial.files}
        self._states: dict[str, dict[str, np.ndarray]] = {}
        self._wanted = ["y", *(f"next_{name}" for name in self._initial)]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        sequence = payload.parameters.sequence_id
        state = self._states.get(sequence, self._initial)
        x = NumpyCodec.decode_input(payload.inputs[0])
        values = self._session.run(self._wanted, {"x": x, **state})
        self._states[sequence] = dict(zip(state, values[1:], strict=True))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", values[0])])

    async def predict_stream(self, payloads: AsyncIterator[InferenceRequest]) -> AsyncIterator[InferenceResponse]:
        async for payload in payloads:
            yield await self.predict(payload)


def request(number: int) -> bytes:
    """One step's request, as bytes: it is the same for every step of a sequence."""
    message = pb.ModelInferRequest(model_name="ntm")
    message.parameters["sequence_id"].string_param = f"bench-{os.getpid()}-{number}"
    x = np.random.default_rng(number).integers(0, 2, 9)
    message.inputs.add(name="x", datatype="FP32", shape=[1, 9]).contents.fp32_contents.extend(x.tolist())
    data: bytes = message.SerializeToString()
    return data


async def drive(address: str, kind: str, callers: int, seconds: float) -> tuple[float, list[float]]:
    latencies: list[float] = []
    end = time.perf_counter() + WARM_UP_SECONDS + seconds
    async with grpc.aio.insecure_channel(address) as channel:
        unary = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", None, None)
        stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer", None, None)

        async def repeat(number: int) -> None:
            message = request(number)
            call = stream(None) if kind == "stream" else None
            while (before := time.perf_counter()) < end:
                if call is None:
                    reply = await unary(message)
                else:
                    await call.write(message)
                    reply = await call.read()
                if len(reply) < MIN_REPLY_BYTES:
                    raise AssertionError(f"a reply of {len(reply)} bytes")
                after = time.perf_counter()
                if before > end - seconds:
                    latencies.append(after - before)
            if call is not None:
                call.cancel()

        await asyncio.gather(*(repeat(number) for number in range(callers)))
    return len(latencies) / seconds, latencies


if __name__ == "__main__":
    rate, latencies = uvloop.run(drive(sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])))
    print(json.dumps({"rate": rate, "p50": median(latencies) * 1e6}))

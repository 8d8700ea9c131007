"""Inputs of the scripted server's model `adder`, their right answers, and a failure that it may have."""

from __future__ import annotations

import grpc
import numpy as np

from tapehead import aio
from tapehead.v1.session_service_pb2 import StepError

ROWS = [[float(n), 1.0] for n in range(1, 21)]
SUMS = np.cumsum(np.array(ROWS, np.float32), axis=0)


def refusal(step: int) -> StepError:
    return StepError(
        step=step,
        code=grpc.StatusCode.INTERNAL.value[0],
        reason="MODEL_NON_FINITE",
        message="not finite",
        metadata={"output": "y"},
    )


async def collect(
    session: aio.Session, rows: list[list[float]] = ROWS, into: list[np.ndarray] | None = None
) -> list[np.ndarray]:
    outputs = [] if into is None else into
    async for result in session.stream(rows):
        outputs.append(result.output)
    return outputs

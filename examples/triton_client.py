"""Triton's own client against this server: sequences that outlive it, and steps that may be sent twice.

    pip install 'tritonclient[grpc]'
    python examples/triton_client.py

The calls are those of any program that was made for Triton. `expected_step` is the one addition: with it a request that
is sent again, after a timeout say, gets the stored answer instead of a second step.
"""

from __future__ import annotations

import numpy as np
import tritonclient.grpc as triton
from own_server import serving

MODEL = "ntm-copy"
SEQUENCE = 42


def main() -> None:
    rows = np.zeros((9, 9), np.float32)
    rows[:4, :8] = np.random.default_rng(4).integers(0, 2, (4, 8))
    rows[4, 8] = 1  # the delimiter: what follows is recall
    with serving() as server:
        first = [step(server, row, number) for number, row in enumerate(rows[:6], start=1)]
        again = step(server, rows[5], 6)  # as after a timeout: the client does not know whether it was taken
        rest = [step(server, row, number) for number, row in enumerate(rows[6:], start=7)]
    recalled = np.array([*first[5:], *rest])
    print("sent twice, answered alike:", bool((again == first[5]).all()))
    print("wrong bits of 32:", int(np.count_nonzero((recalled > 0.5) != (rows[:4, :8] > 0.5))))


def step(server: str, row: np.ndarray, number: int) -> np.ndarray:
    """One step of the sequence, over a connection of its own."""
    given = triton.InferInput("x", [1, row.size], "FP32")
    given.set_data_from_numpy(row[np.newaxis])
    with triton.InferenceServerClient(server) as client:
        result = client.infer(
            MODEL,
            [given],
            sequence_id=SEQUENCE,
            sequence_start=number == 1,
            sequence_end=number == 9,
            parameters={"expected_step": number},
        )
    answer: np.ndarray = result.as_numpy("y")[0]
    return answer


if __name__ == "__main__":
    main()

"""Steps between the wire and the engine."""

from __future__ import annotations

import numpy as np
import pytest

from service.api.steps import StepCodec
from service.errors import TooLong
from tapehead.v1 import session_service_pb2 as pb
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, Tensor
from tests.service.api.fakes import SUM


def chunk(steps: int) -> pb.StreamStep:
    x = Tensor(name="x", dtype=DATA_TYPE_FLOAT32, shape=[steps, 2], raw=np.zeros((steps, 2), "<f4").tobytes())
    return pb.StreamStep(step=1, step_count=steps, inputs=[x])


def test_an_answer_too_large_to_arrive_is_refused_before_it_is_committed() -> None:
    with pytest.raises(TooLong) as caught:
        StepCodec(SUM, ["tape"]).decode(chunk(300_000))

    assert (caught.value.facts["limit"], caught.value.facts["got"]) == ("4000000", "4800000")
    assert StepCodec(SUM).decode(chunk(300_000)).length == 300_000  # without the tape it arrives

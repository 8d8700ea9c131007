"""Train a small GRU to hear tones in noise, export it, serve the file, and stream a signal through it.

    python examples/activity.py            # needs PyTorch and more: make setup

Half a minute in all. The model sees 16 samples at a time and says how likely it is that there is a tone; what it has
heard so far is the session's state. The served file is an ordinary ONNX file: nothing in it knows this service.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from own_server import serving

import tapehead

FRAME = 16  # samples a step
WIDTH = 24  # of the state
FRAMES = 60  # of a training sequence
ROUNDS = 200
BARS = " ▁▂▃▄▅▆▇█"


class Detector(torch.nn.Module):
    """One step: x [batch, 16], hidden [batch, 24] -> activity [batch, 1], the next hidden."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.GRU(FRAME, WIDTH)
        self.line = torch.nn.Linear(WIDTH, 1)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, after = self.network(x[None], hidden[None])
        return torch.sigmoid(self.line(y[0])), after[0]


def signal(random: np.random.Generator, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, here and there with a tone of a random pitch: float32 [frames, 16], and whether each has it [frames]."""
    is_active = np.zeros(frames, np.float32)
    first = int(random.integers(5, 20))
    while first < frames:
        last = first + int(random.integers(8, 20))
        is_active[first:last] = 1
        first = last + int(random.integers(8, 20))
    time = np.arange(frames * FRAME)
    tone = np.sin(time * random.uniform(0.2, 1.2) + random.uniform(0, 6))
    sound = tone * np.repeat(is_active, FRAME) + random.standard_normal(frames * FRAME)
    return sound.reshape(frames, FRAME).astype(np.float32), is_active


def train(random: np.random.Generator) -> Detector:
    torch.manual_seed(1)
    torch.set_num_threads(1)  # it is too small for more
    detector = Detector()
    optimizer = torch.optim.Adam(detector.parameters(), lr=0.01)
    for _ in range(ROUNDS):
        drawn = [signal(random, FRAMES) for _ in range(32)]
        frames = torch.from_numpy(np.stack([frames for frames, _ in drawn], axis=1))  # [time, batch, 16]
        wanted = torch.from_numpy(np.stack([is_active for _, is_active in drawn], axis=1))
        y, _ = detector.network(frames)
        heard = detector.line(y)[:, :, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(heard, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"trained on {ROUNDS * 32} signals; loss {loss.item():.2f}")
    return detector.eval()


def export(detector: Detector, place: Path) -> None:
    """The state goes in as `hidden` and comes out as `hidden_out`: that is all a server has to see."""
    batch = torch.export.Dim("batch")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            detector,
            (torch.zeros(2, FRAME), torch.zeros(2, WIDTH)),
            input_names=["x", "hidden"],
            output_names=["activity", "hidden_out"],
            dynamic_shapes=({0: batch}, {0: batch}),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(str(place), external_data=False)


def main() -> None:
    random = np.random.default_rng(1)
    detector = train(random)
    frames, is_active = signal(random, 100)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "activity.onnx"
        export(detector, place)
        with serving("--model", str(place)) as server, tapehead.connect(server) as client:
            with client.session("activity") as session:
                heard = np.array([result.output[0] for result in session.stream(frames)])
            print("sounding ", "".join("█" if active else " " for active in is_active))
            print("heard    ", "".join(BARS[round(float(one) * 8)] for one in heard))
    right = np.mean((heard > 0.5) == (is_active > 0.5))
    print(f"{right:.0%} of the frames are judged rightly")
    sys.exit(0 if right > 0.8 else 1)


if __name__ == "__main__":
    main()

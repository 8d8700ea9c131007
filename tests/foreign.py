"""ONNX files as other people export them: small models with the names and axes that are met in the wild.

    vad(place)         # voice activity: [N, T] of sound, a state of unknown shape on the way out, a sample rate
    decoder(place)     # keys and values that get longer, [batch, heads, past, width]
    recurrent(place)   # PyTorch's LSTM (or GRU), its states explicit, the batch at axis 1
    encoder(place)     # a streaming encoder with several caches, some of which count
    framed(place)      # frames of one recording as rows of a batch that is none, and the end of each frame before
    quantised(place)   # 8 bits with a scale for a whole call, and a voice that is given once
    hidden(place)      # an LSTM that keeps its state to itself

Each writes the file and returns its place; `Vad` and `run_framed` are what their authors' programs do around the graph.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from tapehead.bundle.runtime import onnxruntime
from tests.bundles import INT_ELEMENT, onnx_bytes, value

WIDTH = 128  # of a state of the VAD
CONTEXT = 64  # samples of the frame before that go in front of each
FRAME = 512
HEADS, HEAD_WIDTH = 2, 4
FRAMED, FRAMED_CONTEXT = 32, 8  # samples of a frame, and of the one before it
VOICE = 4  # numbers that tell one voice from another


def weights(*shape: int, seed: int = 3) -> np.ndarray:
    return (np.random.default_rng(seed + sum(shape)).standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)


def vad(place: Path) -> Path:
    """`input` float32 [N, T], `state` [2, N, 128], `sr` int64; `output` [N, 1] and `stateN`, of which nothing is said.

    Windows of 64 samples become a feature of 128, from which two recurrent rows go on: the answer depends on all
    samples so far, and on the 64 that the program around it must put in front.
    """
    nodes = [
        helper.make_node("Unsqueeze", ["input", "one"], ["sound"]),  # [N, 1, T]
        helper.make_node("Conv", ["sound", "kernel"], ["windows"], strides=[32]),  # [N, 128, windows]
        helper.make_node("Tanh", ["windows"], ["bent"]),
        helper.make_node("ReduceMean", ["bent", "two"], ["feature"], keepdims=0),  # [N, 128]
        helper.make_node("Cast", ["sr"], ["rate"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["rate", "usual"], ["scale"]),
        helper.make_node("Mul", ["feature", "scale"], ["scaled"]),
        helper.make_node("Split", ["state", "ones"], ["first", "second"], axis=0),  # each [1, N, 128]
        helper.make_node("MatMul", ["first", "inner"], ["turned"]),
        helper.make_node("Add", ["turned", "scaled"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["hidden"]),
        helper.make_node("Add", ["second", "hidden"], ["both"]),
        helper.make_node("Mul", ["both", "half"], ["mean"]),
        helper.make_node("Concat", ["hidden", "mean"], ["stateN"], axis=0),
        helper.make_node("MatMul", ["mean", "out"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["probability"]),
        helper.make_node("Squeeze", ["probability", "zero"], ["output"]),
    ]
    constants = {
        "kernel": weights(WIDTH, 1, 64) * 4,
        "inner": weights(WIDTH, WIDTH),
        "out": weights(WIDTH, 1) * 0.3,
        "usual": np.array(16_000, np.float32),
        "half": np.array(0.5, np.float32),
        "ones": np.array([1, 1]),
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
    }
    inputs = [value("input", ["N", "T"]), value("state", [2, "N", WIDTH]), value("sr", [], INT_ELEMENT)]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("output", "stateN")]
    place.write_bytes(onnx_bytes(nodes, inputs, outputs, constants))
    return place


class Vad:
    """The program around the graph, as such models are published with: it keeps the state and the end of the sound."""

    def __init__(self, place: Path, rate: int) -> None:
        self._session = onnxruntime.InferenceSession(str(place), providers=["CPUExecutionProvider"])
        self._rate = np.array(rate, np.int64)
        self._state = np.zeros((2, 1, WIDTH), np.float32)
        self._context = np.zeros((1, CONTEXT), np.float32)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """`frame` float32 [512] -> [1]."""
        sound = np.concatenate([self._context, frame[np.newaxis]], axis=1)
        output, self._state = self._session.run(
            ["output", "stateN"], {"input": sound, "state": self._state, "sr": self._rate}
        )
        self._context = sound[:, -CONTEXT:]
        return np.asarray(output[0])


def decoder(place: Path, layers: int = 2) -> Path:
    """`x` [batch, 8] looks back at all `x` so far, which the keys and values [batch, 2, past, 4] of each layer hold."""
    nodes, constants = (
        [],
        {"two": np.array([2]), "split": np.array([0, HEADS, 1, HEAD_WIDTH]), "flat": np.array([0, 8])},
    )
    inputs, outputs = [value("x", ["batch", 8])], [value("y", ["batch", 8])]
    last = "x"
    for layer in range(layers):
        for seed, part in enumerate(("query", "key", "value")):
            constants[f"w.{layer}.{part}"] = weights(8, 8, seed=10 * layer + seed)
            nodes += [
                helper.make_node("MatMul", [last, f"w.{layer}.{part}"], [f"{layer}.{part}.flat"]),
                helper.make_node("Reshape", [f"{layer}.{part}.flat", "split"], [f"{layer}.{part}.new"]),
            ]
            if part == "query":
                continue
            past, present = f"past_key_values.{layer}.{part}", f"present.{layer}.{part}"
            nodes.append(helper.make_node("Concat", [past, f"{layer}.{part}.new"], [present], axis=2))
            inputs.append(value(past, ["batch", HEADS, "past_length", HEAD_WIDTH]))
            outputs.append(value(present, ["batch", HEADS, "past_length + 1", HEAD_WIDTH]))
        nodes += [
            helper.make_node("Transpose", [f"present.{layer}.key"], [f"{layer}.turned"], perm=[0, 1, 3, 2]),
            helper.make_node("MatMul", [f"{layer}.query.new", f"{layer}.turned"], [f"{layer}.scores"]),
            helper.make_node("Softmax", [f"{layer}.scores"], [f"{layer}.weights"], axis=-1),
            helper.make_node("MatMul", [f"{layer}.weights", f"present.{layer}.value"], [f"{layer}.read"]),
            helper.make_node("Reshape", [f"{layer}.read", "flat"], [f"{layer}.out"]),
        ]
        last = f"{layer}.out"
    nodes.append(helper.make_node("Identity", [last], ["y"]))
    place.write_bytes(onnx_bytes(nodes, inputs, outputs, constants))
    return place


class Recurrent(torch.nn.Module):
    """Two layers of PyTorch's LSTM or GRU over [1, N, 4], and a line from 6 to 3."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.network = getattr(torch.nn, kind)(4, 6, num_layers=2)
        self.line = torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        before = state if len(state) > 1 else state[0]
        y, after = self.network(x[None], before)
        return (self.line(y[0]), *(after if isinstance(after, tuple) else (after,)))


def recurrent(place: Path, kind: str = "LSTM") -> Path:
    """`x` [batch, 4] -> `y` [batch, 3]; `h0` and (of an LSTM) `c0` [2, batch, 6] -> `hn` and `cn`."""
    names = ["h", "c"] if kind == "LSTM" else ["h"]
    arguments = (torch.zeros(2, 4), *(torch.zeros(2, 2, 6) for _ in names))
    batch = torch.export.Dim("batch")
    shapes = ({0: batch}, tuple({1: batch} for _ in names))
    return export(
        Recurrent(kind), arguments, shapes, place, ["x", *(f"{n}0" for n in names)], ["y", *(f"{n}n" for n in names)]
    )


class Encoder(torch.nn.Module):
    """A causal convolution, an attention over the last 6 frames, and a count of what has passed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.convolution = torch.nn.Conv1d(5, 8, 3)
        self.query = torch.nn.Linear(8, 8)
        self.out = torch.nn.Linear(8, 4)

    def forward(
        self, x: torch.Tensor, cached_conv: torch.Tensor, cached_key: torch.Tensor, processed_lens: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """x [N, 4, 5], cached_conv [N, 5, 2], cached_key [6, N, 8], processed_lens int64 [N]."""
        sound = torch.cat([cached_conv, x.transpose(1, 2)], dim=2)
        frames = torch.tanh(self.convolution(sound)).permute(2, 0, 1)  # [4, N, 8]
        keys = torch.cat([cached_key, frames])  # [10, N, 8]
        scores = torch.einsum("tnd,knd->ntk", self.query(frames), keys)
        age = torch.arange(9, -1, -1, device=x.device)
        scores = scores.masked_fill((age >= (processed_lens + 4)[:, None])[:, None], -1e4)
        read = torch.einsum("ntk,knd->ntd", torch.softmax(scores, dim=2), keys)
        return self.out(read), sound[:, :, -2:], keys[-6:], processed_lens + 4


def encoder(place: Path) -> Path:
    """`x` [N, 4, 5] -> `encoder_out` [N, 4, 4]; three caches with three places for the batch; one is int64."""
    batch = torch.export.Dim("N")
    names = ["x", "cached_conv", "cached_key", "processed_lens"]
    arguments = (torch.zeros(2, 4, 5), torch.zeros(2, 5, 2), torch.zeros(6, 2, 8), torch.zeros(2, dtype=torch.int64))
    shapes = ({0: batch}, {0: batch}, {1: batch}, {0: batch})
    outputs = ["encoder_out", *(f"new_{name}" for name in names[1:])]
    return export(Encoder(), arguments, shapes, place, names, outputs)


def framed(place: Path) -> Path:
    """`input` [seq_len, 40] and `h` [1, 1, 8]; `probs` [seq_len], an axis that is named anew, and `hn`."""
    nodes = [
        helper.make_node("Unsqueeze", ["input", "one"], ["steps"]),
        helper.make_node("GRU", ["steps", "w", "r", "", "", "h"], ["all", "hn"], hidden_size=8),
        helper.make_node("Squeeze", ["all", "middle"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "out"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["probs"]),
    ]
    constants = {
        "one": np.array([1]),
        "middle": np.array([1, 2]),
        "w": weights(1, 24, FRAMED + FRAMED_CONTEXT),
        "r": weights(1, 24, 8),
        "out": weights(8),
    }
    inputs = [value("input", ["seq_len", FRAMED + FRAMED_CONTEXT]), value("h", [1, 1, 8])]
    outputs = [value("probs", ["Sigmoidprobs_dim_0"]), value("hn", [1, "GRUhn_dim_1", 8])]
    place.write_bytes(onnx_bytes(nodes, inputs, outputs, constants))
    return place


def run_framed(place: Path, sound: np.ndarray) -> np.ndarray:
    """`sound` float32 [frames * 32] -> [frames], all of it in one call."""
    frames = sound.reshape(-1, FRAMED)
    ends = np.concatenate([np.zeros((1, FRAMED_CONTEXT), np.float32), frames[:-1, -FRAMED_CONTEXT:]])
    session = onnxruntime.InferenceSession(str(place), providers=["CPUExecutionProvider"])
    rows = np.concatenate([ends, frames], axis=1)
    return np.asarray(session.run(["probs"], {"input": rows, "h": np.zeros((1, 1, 8), np.float32)})[0])


def quantised(place: Path) -> Path:
    """`mel` [batch, time, 6], `voice` [batch, 4] and `h0` [1, batch, 5]; `mask` [batch, time, 6] and `hN`.

    What of `mel` goes on is rounded to 8 bits by the largest number of the call, whosever it is.
    """
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["mel"], ["bytes", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["bytes", "w8", "zero"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["counted"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["counted", "scale"], ["heard"]),
        helper.make_node("FusedMatMul", ["voice", "v"], ["wanted"], domain="com.microsoft"),
        helper.make_node("Unsqueeze", ["wanted", "one"], ["wanted_by_time"]),
        helper.make_node("Add", ["heard", "wanted_by_time"], ["drive"]),
        helper.make_node("Transpose", ["drive"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["steps", "w", "r", "", "", "h0"], ["all", "hN"], hidden_size=5),
        helper.make_node("Squeeze", ["all", "one"], ["by_step"]),
        helper.make_node("Transpose", ["by_step"], ["hidden"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["hidden", "out"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["mask"]),
    ]
    constants = {
        "w8": np.random.default_rng(4).integers(-9, 9, (6, 5)).astype(np.int8),
        "v": weights(4, 5),
        "w": weights(1, 15, 5),
        "r": weights(1, 15, 5),
        "out": weights(5, 6),
        "one": np.array([1]),
    }
    inputs = [value("mel", ["batch", "time", 6]), value("voice", ["batch", 4]), value("h0", [1, "batch", 5])]
    outputs = [value("mask", ["batch", "time", 6]), value("hN", [1, "batch", 5])]
    graph = onnx.load_from_string(onnx_bytes(nodes, inputs, outputs, constants))
    graph.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(graph, place)
    return place


def hidden(place: Path) -> Path:
    """`audio` [batch, 4] -> `score` [batch, 6], through an LSTM that begins anew at every call."""
    nodes = [
        helper.make_node("Unsqueeze", ["audio", "zero"], ["steps"]),
        helper.make_node("LSTM", ["steps", "w", "r"], ["all"], hidden_size=6),
        helper.make_node("Squeeze", ["all", "front"], ["score"]),
    ]
    constants = {
        "zero": np.array([0]),
        "front": np.array([0, 1]),
        "w": weights(1, 24, 4),
        "r": weights(1, 24, 6),
    }
    place.write_bytes(onnx_bytes(nodes, [value("audio", ["batch", 4])], [value("score", ["batch", 6])], constants))
    return place


def outside(place: Path) -> Path:
    """Moves the weights of an ONNX file into another one beside it."""
    onnx.save(onnx.load(place), place, save_as_external_data=True, location=f"{place.stem}.weights", size_threshold=0)
    return place


def export(
    module: torch.nn.Module,
    arguments: tuple[torch.Tensor, ...],
    shapes: tuple[object, ...],
    place: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> Path:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            module.eval(),
            arguments,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes,
            opset_version=20,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(str(place), external_data=False)
    return place

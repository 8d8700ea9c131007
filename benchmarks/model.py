"""What one step of the NTM costs, beside a graph written by hand for speed; both measured alternately in one run.

    python -m benchmarks.model [--rounds 7] [--record FOLDER]

The floor is the step of the same machine (N = 128 locations of width M = 20, an LSTM controller of 100 units, one read
and one write head) as a hand-written ONNX graph with random weights: both heads addressed at once over a transposed
memory, one product for the controller and one for all head outputs, sharpening as a softmax of logarithms. It has no
inspection outputs, no clamps and no learned start; a cell that PyTorch exports can hardly be cheaper. The service's own
share is measured too: gathering states from a pool, the run, and scattering the next states into the pool. Last, a
question of a memory network on a story that a session was told, beside one that brings its story along.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks import records, streams
from service.engine.pools import Pool
from service.hosting.model import Model
from service.hosting.repository import Repository
from tapehead.bundle.runtime import onnxruntime

INPUTS, OUTPUTS, UNITS, LOCATIONS, WIDTH = 9, 8, 100, 128, 20
HEADS = 2
ROUND_SECONDS = 0.15
BATCHES = (1, 8, 32, 64, 128)
SENTENCES = 50  # of a whole story


def tuned_step(locations: int = LOCATIONS) -> onnx.ModelProto:
    """The floor: (x, memory, weights, hr, cell) -> (y, next memory, next weights, next hr, next cell)."""
    rng = np.random.default_rng(0)
    head_sizes = [HEADS * WIDTH, HEADS, HEADS, HEADS, HEADS, HEADS, WIDTH, WIDTH]
    weights = {
        "w_lstm": rng.normal(0, 0.1, (INPUTS + UNITS + WIDTH, 4 * UNITS)),
        "b_lstm": np.zeros(4 * UNITS),
        "w_heads": rng.normal(0, 0.1, (UNITS, sum(head_sizes))),
        "b_heads": np.zeros(sum(head_sizes)),
        "w_out": rng.normal(0, 0.1, (UNITS + WIDTH, OUTPUTS)),
        "b_out": np.zeros(OUTPUTS),
        "ones": np.ones((1, WIDTH)),
        "one": np.ones(1),
    }
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    integers = {
        "column": [0, sum(head_sizes), 1],
        "key_shape": [0, HEADS, WIDTH],
        "head_sizes": head_sizes,
        "gate_sizes": [3 * UNITS, UNITS],
        "three": [UNITS] * 3,
        "ring": [0, 0, 1, 0, 0, 1],
        "zero": [0],
        "two": [2],
        "end": [locations],
        "far": [locations + 2],
        "last_axis": [2],
        "one_each": [1, 1],
    }
    tensors += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in integers.items()]
    node = helper.make_node
    nodes = [
        node("Concat", ["x", "hr"], ["xhr"], axis=1),
        node("Gemm", ["xhr", "w_lstm", "b_lstm"], ["z"]),
        node("Split", ["z", "gate_sizes"], ["z3", "zg"], axis=1),
        node("Sigmoid", ["z3"], ["s3"]),
        node("Split", ["s3", "three"], ["i", "f", "o"], axis=1),
        node("Tanh", ["zg"], ["g"]),
        node("Mul", ["i", "g"], ["ig"]),
        node("Mul", ["f", "cell"], ["fc"]),
        node("Add", ["ig", "fc"], ["next_cell"]),
        node("Tanh", ["next_cell"], ["tc"]),
        node("Mul", ["o", "tc"], ["h"]),
        node("Gemm", ["h", "w_heads", "b_heads"], ["p"]),
        node("Reshape", ["p", "column"], ["p1"]),
        node("Split", ["p1", "head_sizes"], ["k", "beta", "gate", "back", "forward", "gamma", "erase", "add"], axis=1),
        node("Tanh", ["k"], ["kt"]),
        node("Reshape", ["kt", "key_shape"], ["key"]),
        node("LpNormalization", ["key"], ["kn"], axis=-1, p=2),
        node("Softplus", ["beta"], ["bs"]),
        node("Mul", ["kn", "bs"], ["bk"]),
        node("MatMul", ["bk", "memory"], ["dots"]),
        node("Mul", ["memory", "memory"], ["mm"]),
        node("MatMul", ["ones", "mm"], ["sq"]),
        node("Sqrt", ["sq"], ["norm"]),
        node("Div", ["dots", "norm"], ["score"]),
        node("Softmax", ["score"], ["content"], axis=-1),
        node("Sigmoid", ["gate"], ["gs"]),
        node("Sub", ["content", "weights"], ["diff"]),
        node("Mul", ["gs", "diff"], ["gd"]),
        node("Add", ["weights", "gd"], ["mixed"]),
        node("Exp", ["back"], ["eb"]),
        node("Exp", ["forward"], ["ef"]),
        node("Pad", ["mixed", "ring"], ["padded"], mode="wrap"),
        node("Slice", ["padded", "two", "far", "last_axis"], ["right"]),
        node("Slice", ["padded", "zero", "end", "last_axis"], ["left"]),
        node("Mul", ["eb", "right"], ["br"]),
        node("Mul", ["ef", "left"], ["fl"]),
        node("Sum", ["mixed", "br", "fl"], ["turned"]),
        node("Log", ["turned"], ["logs"]),
        node("Softplus", ["gamma"], ["sharp0"]),
        node("Add", ["sharp0", "one"], ["sharp"]),
        node("Mul", ["sharp", "logs"], ["powers"]),
        node("Softmax", ["powers"], ["next_weights"], axis=-1),
        node("Split", ["next_weights", "one_each"], ["wr", "ww"], axis=1),
        node("Mul", ["memory", "wr"], ["seen"]),
        node("ReduceSum", ["seen", "last_axis"], ["vector"], keepdims=0),
        node("Concat", ["h", "vector"], ["next_hr"], axis=1),
        node("Gemm", ["next_hr", "w_out", "b_out"], ["y0"]),
        node("Sigmoid", ["y0"], ["y"]),
        node("Sigmoid", ["erase"], ["e"]),
        node("Tanh", ["add"], ["a"]),
        node("Mul", ["memory", "e"], ["me"]),
        node("Sub", ["a", "me"], ["change"]),
        node("Mul", ["ww", "change"], ["wc"]),
        node("Add", ["memory", "wc"], ["next_memory"]),
    ]
    shapes = state_shapes(locations)
    inputs = {"x": [INPUTS], **shapes}
    outputs = {"y": [OUTPUTS], **{f"next_{name}": shape for name, shape in shapes.items()}}
    graph = helper.make_graph(nodes, "tuned", _values(inputs), _values(outputs), tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def state_shapes(locations: int = LOCATIONS) -> dict[str, list[int]]:
    """The floor's state, without the batch axis."""
    return {"memory": [WIDTH, locations], "weights": [HEADS, locations], "hr": [UNITS + WIDTH], "cell": [UNITS]}


def _values(shapes: dict[str, list[int]]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", *shape]) for name, shape in shapes.items()]


def optimised_nodes(model: bytes) -> int:
    """How many nodes onnxruntime leaves of a graph."""
    with tempfile.TemporaryDirectory() as folder:
        options = _options()
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return len(onnx.load(options.optimized_model_filepath).graph.node)


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def seconds_of(act: Callable[[], object]) -> float:
    """Seconds of the processor that one call takes, over about `ROUND_SECONDS`; all is done in the calling thread."""
    act()
    count, start = 0, time.thread_time()
    while (elapsed := time.thread_time() - start) < ROUND_SECONDS:
        act()
        count += 1
    return elapsed / count


class Cost(NamedTuple):
    """What a row of a batch costs, in microseconds."""

    batch: int
    by_hand: float  # the floor's run
    run: float
    whole: float  # gather + run + scatter


def compare(model: Model, rounds: int, batches: Sequence[int] = BATCHES) -> Iterator[Cost]:
    """Measures the step of the machine, beside the floor, alternately; medians of the rounds."""
    floor = onnxruntime.InferenceSession(
        tuned_step().SerializeToString(), _options(), providers=["CPUExecutionProvider"]
    )
    pool = Pool(model.state)
    slots = [pool.take() for _ in range(2 * max(batches))]
    for slot in slots:
        pool.write(slot, [model.initial_state[tensor.name] for tensor in model.state])
    plain = model.default_outputs("step")
    for batch in batches:
        x = np.random.default_rng(1).integers(0, 2, (batch, INPUTS)).astype(np.float32)
        feed = {
            "x": x,
            "memory": np.full((batch, WIDTH, LOCATIONS), 1e-3, np.float32),
            "weights": np.full((batch, HEADS, LOCATIONS), 1 / LOCATIONS, np.float32),
            "hr": np.zeros((batch, UNITS + WIDTH), np.float32),
            "cell": np.zeros((batch, UNITS), np.float32),
        }
        own, scratch = slots[:batch], slots[max(batches) : max(batches) + batch]
        state = pool.stack(own)

        def run_floor(feed: dict[str, np.ndarray] = feed) -> object:
            return floor.run(None, feed)

        def run(x: np.ndarray = x, state: dict[str, np.ndarray] = state) -> object:
            return model.runner.run("step", {"x": x}, state, plain)

        def run_all(x: np.ndarray = x, own: list[int] = own, scratch: list[int] = scratch) -> object:
            outputs, after = model.runner.run("step", {"x": x}, pool.stack(own), plain)
            pool.unstack(scratch, after)
            return outputs

        times = [(seconds_of(run_floor), seconds_of(run), seconds_of(run_all)) for _ in range(rounds)]
        yield Cost(batch, *(median(column) / batch * 1e6 for column in zip(*times, strict=True)))


def question_cost(model: Model, rounds: int) -> tuple[float, float]:
    """Microseconds of a question on a story that is known, and on one that comes with it; both one row, alternately."""
    words = model.entries["ask"].inputs[0].shape
    question = np.ones((1, *words), np.int64)
    story = np.ones((1, SENTENCES, *words), np.int64)
    state = {name: array[np.newaxis] for name, array in model.initial_state.items()}
    outputs = model.default_outputs("ask")

    def ask() -> object:
        return model.runner.run("ask", {"question": question}, state, outputs)

    def answer() -> object:
        return model.runner.run("answer", {"story": story, "question": question}, {}, model.default_outputs("answer"))

    times = [(seconds_of(ask), seconds_of(answer)) for _ in range(rounds)]
    known, whole = (median(column) * 1e6 for column in zip(*times, strict=True))
    return known, whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7, help="of which the median is reported")
    parser.add_argument("--record", type=Path, help="folder in which the results are kept")
    arguments = parser.parse_args()
    exported = (streams.ROOT / "models/ntm-copy/1/model.onnx").read_bytes()
    print(
        f"nodes after onnxruntime's optimisation: {optimised_nodes(exported)} exported, "
        f"{optimised_nodes(tuned_step().SerializeToString())} by hand\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        repository = Repository.load(streams.served(Path(folder)), max_batch=128)
    costs = []
    print("| batch | by hand us | run us | of it | gather + run + scatter us | of the run |\n|---|---|---|---|---|---|")
    for cost in compare(repository.get("ntm-copy", 0), arguments.rounds):
        costs.append(cost)
        print(
            f"| {cost.batch} | {cost.by_hand:.2f} | {cost.run:.2f} | {cost.run / cost.by_hand:.2f} "
            f"| {cost.whole:.2f} | {cost.whole / cost.run:.2f} |"
        )
    known, whole = question_cost(repository.get("babi-qa", 0), arguments.rounds)
    print(
        f"\na question on a known story {known:.1f} us, on one of {SENTENCES} sentences that comes with it "
        f"{whole:.1f} us: {known / whole:.2f}"
    )
    if arguments.record is not None:
        records.write(arguments.record, "model", {"rows": [cost._asdict() for cost in costs]})


if __name__ == "__main__":
    main()

"""Tapehead beside MLServer, with the same ONNX graph inside each, measured alternately in one run.

    make bench-peers        (python -m benchmarks.peers [--seconds 2] [--rounds 3])

Creates the peer's virtual environment once (.venv-peers). MLServer serves the graph by a custom runtime in its own
process, states in a dictionary; Tapehead is its default server, with checks, commits and fences, storing in memory as
MLServer does, and once with a store that survives kill -9.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import numpy as np

from benchmarks import streams, unary
from service.hosting.repository import Repository

ROOT = Path(__file__).parents[2]
PEER = ROOT / ".venv-peers" / "mlserver"
PACKAGES = ["mlserver==1.7.1", "onnxruntime==1.31.1", "uvloop"]
SIDE = Path(__file__).with_name("mlserver_side.py")
START_SECONDS = 60.0


def peer_python() -> Path:
    """The interpreter of the peer's environment, made if it is not there."""
    python = PEER / "bin" / "python"
    if not (PEER / "complete").exists():
        print(f"installing {PACKAGES[0]} into {PEER} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEER)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--quiet", *PACKAGES], check=True)
        (PEER / "complete").touch()
    return python


@contextmanager
def mlserver(folder: Path) -> Iterator[str]:
    """Serves the graph by MLServer, in this folder; gives its address."""
    model = Repository.load(ROOT / "models", max_batch=128).get("ntm-copy", 0)
    shutil.copy(ROOT / "models" / "ntm-copy" / str(model.version) / "model.onnx", folder / "model.onnx")
    # Of any type: among the keywords of savez are also flags of its own.
    initial: dict[str, Any] = {tensor.name: model.initial_state[tensor.name] for tensor in model.state}
    np.savez(folder / "model.onnx.npz", **initial)
    shutil.copy(SIDE, folder / SIDE.name)
    ports = [_free_port() for _ in range(3)]
    settings = {
        "host": "127.0.0.1", "http_port": ports[0], "grpc_port": ports[1], "metrics_port": ports[2],
        "parallel_workers": 0, "gzip_enabled": False, "debug": False,
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    facts = {
        "name": "ntm",
        "implementation": "mlserver_side.StatefulModel",
        "parameters": {"uri": str(folder / "model.onnx")},
    }
    (folder / "model-settings.json").write_text(json.dumps(facts))
    with (folder / "log").open("wb") as log:
        command = [str(peer_python().parent / "mlserver"), "start", "."]
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    address = f"127.0.0.1:{ports[1]}"
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(START_SECONDS)
        time.sleep(1.0)  # its models load after its port is open
        yield address
    finally:
        server.terminate()
        server.wait()


def measure_peer(address: str, kind: str, callers: int, seconds: float) -> tuple[float, float]:
    command = [str(peer_python()), str(SIDE), "client", address, kind, str(callers), str(seconds)]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result["rate"], result["p50"]


def measure_own(server: streams.Server, kind: str, callers: int, seconds: float) -> tuple[float, float]:
    if kind == "stream":
        measured = streams.measure(server, callers, seconds, 0)
    else:
        measured = unary.measure(server, "step", callers, seconds, False)
    return measured.rate, measured.p50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is reported")
    arguments = parser.parse_args()
    cases = [("unary", 1), ("unary", 16), ("unary", 64), ("stream", 16), ("stream", 64)]
    results: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for durability in ("memory", "process"):
            (folder / durability).mkdir()
        for turn in range(arguments.rounds):
            place = folder / f"mlserver-{turn}"
            place.mkdir()
            with mlserver(place) as address:
                for kind, callers in cases:
                    result = measure_peer(address, kind, callers, arguments.seconds)
                    results.setdefault(("MLServer", kind, callers), []).append(result)
            for durability in ("memory", "process"):
                store = "memory:" if durability == "memory" else f"lmdb:{folder / durability / 'store'}"
                command, ready = streams.service(folder, durability, store, durability)
                ready.unlink(missing_ok=True)
                with streams.process(command, ready) as server:
                    for kind, callers in cases:
                        result = measure_own(server, kind, callers, arguments.seconds)
                        results.setdefault((durability, kind, callers), []).append(result)
    print("| call | at once | MLServer/s | p50 us | memory/s | p50 us | of MLServer | process/s | of MLServer |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind, callers in cases:
        (peer, peer_p50), (own, own_p50), (durable, _) = (
            [median(column) for column in zip(*results[who, kind, callers], strict=True)]
            for who in ("MLServer", "memory", "process")
        )
        print(
            f"| {kind} | {callers} | {peer:,.0f} | {peer_p50:,.0f} | {own:,.0f} | {own_p50:,.0f} | {own / peer:.2f} "
            f"| {durable:,.0f} | {durable / peer:.2f} |"
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()

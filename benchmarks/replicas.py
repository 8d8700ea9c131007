"""Two and three replicas on one Redis: what each adds, and what Redis takes.

    python -m benchmarks.replicas [--replicas 1 2 3] [--sessions 64] [--seconds 2] [--rounds 3]

Each replica is a service of its own on the same Redis (append-only file, `appendfsync no`: durability `process`), and
steps its share of the sessions for a client process of its own. The processors' time, of services and Redis, shows what
more cores would give, where the rates of one small machine cannot.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import psutil

from benchmarks import streams


@contextmanager
def redis(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A Redis that survives kill -9; its address and its process."""
    program = shutil.which("redis-server") or sys.exit("redis-server: not on the PATH")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    command = [program, *options, "--appendonly", "yes", "--appendfsync", "no", "--maxmemory-policy", "noeviction"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0", psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait()


def measure(folder: Path, replicas: int, sessions: int, seconds: float) -> tuple[float, float, float]:
    """Steps a second of all replicas together, and microseconds of a step in the services and in Redis."""
    with redis(folder) as (store, process), ExitStack() as running:
        servers = []
        for number in range(replicas):
            command, ready = streams.service(folder, f"replica-{number}", store, "process")
            servers.append(running.enter_context(streams.process(command, ready)))
        with multiprocessing.get_context("spawn").Pool(replicas) as pool:
            before, begin = sum(process.cpu_times()[:2]), time.perf_counter()
            shares = [(server, sessions // replicas, seconds, 0, 0) for server in servers]
            found = pool.starmap(streams.run_measure, shares)
            spent, elapsed = sum(process.cpu_times()[:2]) - before, time.perf_counter() - begin
    rate = sum(own.rate for own in found)
    cpu = sum(own.cpu * own.rate for own in found) / rate
    busy = elapsed - streams.WARM_UP_SECONDS  # Redis is watched a little longer, so this is a little much
    return rate, cpu, spent / (rate * max(busy, seconds)) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--replicas", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--sessions", type=int, default=64, help="over all replicas")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is reported")
    arguments = parser.parse_args()
    print("| replicas | steps/s | cpu us of a step in the services | and in Redis |\n|---|---|---|---|")
    for replicas in arguments.replicas:
        found = []
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as name:
                found.append(measure(Path(name), replicas, arguments.sessions, arguments.seconds))
        rate, cpu, stored = (median(column) for column in zip(*found, strict=True))
        print(f"| {replicas} | {rate:,.0f} | {cpu:,.0f} | {stored:,.0f} |", flush=True)


if __name__ == "__main__":
    main()

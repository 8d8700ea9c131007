"""One table of ratios: the service beside the floors that bound it, both sides measured alternately in one run.

    make bench        (python -m benchmarks [streams chunks batching unary model] [--seconds 2] [--rounds 3])

Each part can be had alone. `of` says what a figure is divided by: a bare grpc.aio echo of the same messages, the
service's own rate of single steps, or the bare run of the same graph. The scripts beside this one print the figures
behind the ratios, and answer further questions: inside, store, growth, latency, overload, recovery, versions, training.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from service.hosting.repository import Repository

from . import inside, streams, unary
from .model import compare as compare_model
from .model import question_cost

CHUNK = 32  # steps
SESSIONS = 64


class Row(NamedTuple):
    """A line of the table."""

    figure: str
    of: str
    own: float
    floor: float

    def __str__(self) -> str:
        return f"| {self.figure} | {self.own:,.0f} | {self.of} | {self.floor:,.0f} | {self.own / self.floor:.2f} |"


def in_streams(folder: Path, seconds: float, rounds: int) -> Iterator[Row]:
    levels = ("memory", "process", "disk")
    servers = {"echo": streams.echo_server(folder), **{level: streams.service_at(folder, level) for level in levels}}
    found = streams.compare(servers, [1, SESSIONS, 2 * SESSIONS], seconds, rounds, 0)
    for sessions in (SESSIONS, 2 * SESSIONS):
        for level in levels:
            own, floor = found[level, sessions], found["echo", sessions]
            yield Row(f"{sessions} streams, {level}: steps/s", "echo", own.rate, floor.rate)
            yield Row(f"{sessions} streams, {level}: cpu us a step", "echo", own.cpu, floor.cpu)
    for level in levels:
        yield Row(f"1 stream, {level}: p50 us", "echo", found[level, 1].p50, found["echo", 1].p50)


def in_chunks(folder: Path, seconds: float, rounds: int) -> Iterator[Row]:
    servers = {"memory": streams.service_at(folder, "memory")}
    singles = streams.compare(servers, [16, SESSIONS], seconds, rounds, 0)
    chunks = streams.compare(servers, [16, SESSIONS], seconds, rounds, CHUNK)
    repository = Repository.load(folder / "served", max_batch=128)
    for sessions in (16, SESSIONS):
        rate = CHUNK * chunks["memory", sessions].rate
        figure, scan = f"{sessions} streams, chunks of {CHUNK}: steps/s", inside.bare_run(repository, sessions, CHUNK)
        yield Row(figure, "single steps", rate, singles["memory", sessions].rate)
        yield Row(figure, "bare Scan", rate, CHUNK * 1e6 / scan)


def in_batches(folder: Path, seconds: float, rounds: int) -> Iterator[Row]:
    servers = {
        "on": streams.service_at(folder, "memory"),
        "off": streams.service_at(folder, "memory", "--max-batch", "1"),
    }
    found = streams.compare(servers, [SESSIONS], seconds, rounds, 0)
    on, off = found["on", SESSIONS], found["off", SESSIONS]
    yield Row(f"{SESSIONS} streams, batches: steps/s", "batches of one", on.rate, off.rate)


def in_unary(folder: Path, seconds: float, rounds: int) -> Iterator[Row]:
    found = unary.compare(folder, "process", [16, SESSIONS], seconds, rounds)
    for call in ("step", "ask"):
        for callers in (16, SESSIONS):
            own, floor = found[call, "service", callers], found[call, "echo", callers]
            yield Row(f"{callers} callers of {call}, process: calls/s", "unary echo", own.rate, floor.rate)


def in_model(folder: Path, _seconds: float, rounds: int) -> Iterator[Row]:
    repository = Repository.load(streams.served(folder), max_batch=128)
    for cost in compare_model(repository.get("ntm-copy", 0), rounds, (1, 128)):
        yield Row(f"run of {cost.batch}: ns a row", "graph by hand", cost.run * 1e3, cost.by_hand * 1e3)
        yield Row(f"gather + run + scatter of {cost.batch}: ns a row", "run", cost.whole * 1e3, cost.run * 1e3)
    known, whole = question_cost(repository.get("babi-qa", 0), rounds)
    yield Row("question on a known story: ns", "whole story", known * 1e3, whole * 1e3)


PARTS: dict[str, Callable[[Path, float, int], Iterator[Row]]] = {
    "streams": in_streams,
    "chunks": in_chunks,
    "batching": in_batches,
    "unary": in_unary,
    "model": in_model,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is reported")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"expected parts among {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    print("| figure | service | of | floor | ratio |\n|---|---|---|---|---|", flush=True)
    for part in arguments.parts or PARTS:
        with tempfile.TemporaryDirectory() as name:
            for row in PARTS[part](Path(name), arguments.seconds, arguments.rounds):
                print(row, flush=True)


if __name__ == "__main__":
    main()

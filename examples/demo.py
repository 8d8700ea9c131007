"""Tapehead in half a minute: a question, a tape, a kill -9, and the same bits as if nothing had happened.

    make demo

Starts a server of its own on free ports with a store in a temporary folder, and ends both when it is done.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import tapehead
from tapehead import render

STORY = [
    "Mary got the football there.",
    "John went to the kitchen.",
    "Mary travelled to the garden.",
    "Sandra journeyed to the office.",
    "Mary went to the bathroom.",
    "John moved to the hallway.",
]
QUESTION = "Where is the football?"

LENGTH = 20  # bit vectors to copy; then a delimiter; then as many steps of recall
KILL_BEFORE = LENGTH + 8  # the step before which the server is killed: in the middle of the recall
BITS = 8
START_SECONDS = 30.0


@dataclass
class Server:
    """A server process of our own."""

    folder: Path  # of its store
    address: str = "127.0.0.1:0"
    process: subprocess.Popen[bytes] | None = None
    starts: list[float] = field(default_factory=list)  # seconds each

    def start(self) -> None:
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "service", "--address", self.address, "--metrics-address", "127.0.0.1:0"]
        command += ["--store", f"lmdb:{self.folder / 'sessions'}", "--ready-file", str(ready)]
        began = time.monotonic()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() - began > START_SECONDS:
                sys.exit(f"the server did not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.02)
        self.starts.append(time.monotonic() - began)
        self.address = json.loads(ready.read_text())["grpc"]

    def kill(self) -> None:
        """kill -9: the process has no say."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


@contextmanager
def own_server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="tapehead-demo-"))
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def main() -> None:
    began = time.monotonic()
    rows = copy_sequence(np.random.default_rng(7))
    with own_server() as server, own_server() as other:
        title(f"A server on {server.address}, its sessions in {server.folder}")
        ask(server)
        interrupted = stream_through_a_kill(server, rows)
        title("The same sequence, uninterrupted, by another process on another store")
        with tapehead.connect(other.address) as client, client.session("ntm-copy", outputs=OUTPUTS) as session:
            uninterrupted = [session.step(row) for row in rows]
        compare(interrupted, uninterrupted, rows)
    print(f"\n{time.monotonic() - began:.1f} seconds in all.")


def ask(server: Server) -> None:
    title(f"A question about a story: {QUESTION}")
    with tapehead.connect(server.address) as client:
        answer = client.ask(STORY, QUESTION)
    print(render.attention(STORY, answer.hops))
    print("\n" + "   ".join(f"{ranked.text} {ranked.probability:.1%}" for ranked in answer.ranked))


OUTPUTS = ("y", "tape")


def stream_through_a_kill(server: Server, rows: np.ndarray) -> list[tapehead.StepResult]:
    title(f"{LENGTH} vectors of {BITS} bits, streamed through a Neural Turing Machine that is to give them back")
    results: list[tapehead.StepResult] = []
    with tapehead.connect(server.address) as client, client.session("ntm-copy", outputs=OUTPUTS) as session:
        for number, row in enumerate(rows, start=1):
            if number == LENGTH + 1:
                tape = results[-1].outputs["tape"]
                slots = written_slots(results[0].outputs["tape"], tape)
                show(rows[:LENGTH, :BITS], tape, slots, "the input, and the slots of the tape that it was written to")
            if number == KILL_BEFORE:
                print(f"\nkill -9 {server.process.pid if server.process else ''}, before step {number} of {len(rows)}")
                server.kill()
                # Meanwhile the session below has nobody to talk to: it waits, opens again, and goes on.
                threading.Thread(target=server.start).start()
            results.append(session.step(row))
            if number == KILL_BEFORE:
                print(f"step {number}: answered by process {server.process.pid if server.process else ''}")
        committed = client.sessions.get(session.session_id).committed_step
    recalled = np.array([result.outputs["y"] for result in results[LENGTH + 1 :]])
    show(recalled, results[-1].outputs["tape"], slots, "what came back, and the same slots at the end")
    wrong = int(((recalled > 0.5) != (rows[:LENGTH, :BITS] > 0.5)).sum())
    print(f"\n{wrong} of {LENGTH * BITS} bits wrong; the store has step {committed} of {len(rows)}")
    return results


def compare(interrupted: list[tapehead.StepResult], uninterrupted: list[tapehead.StepResult], rows: np.ndarray) -> None:
    numbers = [result.step for result in interrupted]
    lost = sorted(set(range(1, len(rows) + 1)) - set(numbers))
    repeated = len(numbers) - len(set(numbers))
    different = [
        one.step
        for one, two in zip(interrupted, uninterrupted, strict=True)
        if any(one.outputs[name].tobytes() != two.outputs[name].tobytes() for name in OUTPUTS)
    ]
    after = sum(not result.replayed for result in interrupted[KILL_BEFORE - 1 :])
    print(f"steps answered       {len(numbers)}, of which {after} were computed after the restart")
    print(f"answers lost         {len(lost)} {lost or ''}")
    print(f"answers repeated     {repeated}")
    print(f"answers that differ  {len(different)} {different or ''}(every bit of {' and '.join(OUTPUTS)} compared)")
    if lost or repeated or different or after < 10:
        sys.exit("\nThis should not have happened: a promise was broken.")
    print("\nNothing was lost, nothing was repeated, and the bits are those of the uninterrupted run.")


def copy_sequence(generator: np.random.Generator) -> np.ndarray:
    """Rows of the copy task: bits, a delimiter in the last channel, then silence while the machine recalls."""
    rows = np.zeros((2 * LENGTH + 1, BITS + 1), np.float32)
    rows[:LENGTH, :BITS] = generator.integers(0, 2, (LENGTH, BITS))
    rows[LENGTH, BITS] = 1.0
    return rows


def written_slots(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The slots that changed most between two tapes, in their order on the tape."""
    changes = np.abs(after - before).sum(axis=1)
    return np.sort(np.argsort(-changes)[:LENGTH])


def show(bits: np.ndarray, tape: np.ndarray, slots: np.ndarray, caption: str) -> None:
    """Draws bits, one vector a line, beside slots of the tape."""
    print(f"\n{caption}\n")
    lines = zip(
        render.bits(bits).splitlines(), slots, render.tape(tape[slots], low=-1, high=1).splitlines(), strict=True
    )
    for vector, slot, row in lines:
        print(f"  {vector}    slot {slot:3d} {row}")


def title(text: str) -> None:
    print(f"\n== {text}\n", flush=True)


if __name__ == "__main__":
    main()

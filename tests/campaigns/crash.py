"""Kills a real server at random instants while sessions of real models stream, and judges what the clients got.

    make crash ARGS="--kills 200 --seed 1"

Sessions stream single steps, pipelined steps and chunks through the shipped copy machine, and tell stories to the
shipped question answerer. The server dies by kill -9 at random instants, sometimes while it starts, and every tenth
time it is drained by SIGTERM instead. The oracle then plays every session's inputs, uninterrupted, to another process
on another store. A violation is an answer lost, repeated, out of order or with another bit, or a final state that
differs. On a violation the folder with the store and the log is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import tapehead
from tests.end_to_end.server_process import ServerProcess

MODEL, QA_MODEL = "ntm-copy", "babi-qa"
OUTPUTS = ("y", "tape")
STYLES = ("single", "pipelined", "chunked")
PEOPLE, PLACES = ("mary", "john", "daniel", "sandra"), ("garden", "kitchen", "office", "hallway", "bathroom")


@dataclass
class History:
    """What one session was given and what it gave back."""

    session_id: str
    inputs: list[np.ndarray] = field(default_factory=list)  # one row a step
    answers: list[tuple[int, bytes]] = field(default_factory=list)  # step, digest of its outputs
    replayed: int = 0


@dataclass
class Tale:
    """What one story was told."""

    session_id: str
    sentences: list[str] = field(default_factory=list)


def digest(result: tapehead.StepResult, row: int | None = None) -> bytes:
    parts = (result.outputs[name] if row is None else result.outputs[name][row] for name in OUTPUTS)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).digest()


def copy_rows(chance: random.Random) -> np.ndarray:
    length = chance.randrange(3, 20)
    rows = np.zeros((2 * length + 1, 9), np.float32)
    rows[:length, :8] = np.random.default_rng(chance.randrange(2**32)).integers(0, 2, (length, 8))
    rows[length, 8] = 1.0
    return rows


class Campaign:
    """One run: clients, kills, and the verdict."""

    def __init__(self, folder: Path, seed: int, kills: int, sessions: int, durability: str) -> None:
        self._folder = folder
        self._chance = random.Random(seed)
        self._kills = kills
        self._over = asyncio.Event()
        self._histories = [History(f"stream-{n}") for n in range(sessions)]
        self._tales = [Tale(f"story-{n}") for n in range(max(1, sessions // 4))]
        (folder / "killed").mkdir()
        (folder / "quiet").mkdir()
        self._server = ServerProcess(folder / "killed", "--durability", durability, "--log-level", "warning")

    async def run(self) -> list[str]:
        """Returns the violations."""
        with self._server:
            async with tapehead.aio.connect(self._server.grpc, reconnect_timeout=120) as client:
                work = [self._stream(client, history) for history in self._histories]
                work += [self._tell(client, tale) for tale in self._tales]
                everything = asyncio.gather(self._kill(), *work)
                await everything
                states = {
                    history.session_id: await client.sessions.read_state(history.session_id)
                    for history in self._histories
                }
                asked = {tale.session_id: await self._ask(client, tale) for tale in self._tales}
        return await self._judge(states, asked)

    async def _kill(self) -> None:
        for number in range(1, self._kills + 1):
            await asyncio.sleep(self._chance.random() * 1.5)
            if number % 10 == 0:
                self._server.terminate()
            else:
                self._server.kill()
            while self._chance.random() < 0.1:  # now and then it dies while it starts
                self._server.launch()
                await asyncio.sleep(self._chance.random() * 2.0)
                self._server.kill()
            await self._server.restart()
            print(f"\r{number} of {self._kills} ends, {self.steps:,} steps answered ", end="", flush=True)
        print()
        self._over.set()

    @property
    def steps(self) -> int:
        return sum(len(history.answers) for history in self._histories)

    @property
    def replays(self) -> int:
        return sum(history.replayed for history in self._histories)

    async def _stream(self, client: tapehead.aio.Client, history: History) -> None:
        chance = random.Random(self._chance.random())
        async with client.session(MODEL, history.session_id, outputs=OUTPUTS, window=32) as session:
            while not self._over.is_set():
                await self._sequence(session, history, copy_rows(chance), chance.choice(STYLES))
                await asyncio.sleep(chance.random() * 0.2)

    async def _sequence(self, session: tapehead.aio.Session, history: History, rows: np.ndarray, style: str) -> None:
        history.inputs.extend(rows)
        if style == "chunked":
            async for result in session.stream(np.array_split(rows, 4), chunked=True):
                history.replayed += result.replayed
                history.answers += [(result.step + row, digest(result, row)) for row in range(result.step_count)]
            return
        results = session.stream(rows) if style == "pipelined" else _one_by_one(session, rows)
        async for result in results:
            history.replayed += result.replayed
            history.answers.append((result.step, digest(result)))

    async def _tell(self, client: tapehead.aio.Client, tale: Tale) -> None:
        chance = random.Random(self._chance.random())
        story = await _patiently(lambda: client.conversation(QA_MODEL, tale.session_id))
        while not self._over.is_set():
            sentence = f"{chance.choice(PEOPLE)} went to the {chance.choice(PLACES)}"
            tale.sentences.append(sentence)
            await story.tell(sentence)
            await asyncio.sleep(chance.random() * 0.05)

    async def _ask(self, client: tapehead.aio.Client, tale: Tale) -> tuple[int, list[tuple[str, float]]]:
        story = await client.conversation(QA_MODEL, tale.session_id)
        answers = [await story.ask(f"where is {person}?") for person in PEOPLE]
        return story.told_count, [(answer.text, answer.ranked[0].probability) for answer in answers]

    # --- the oracle ---------------------------------------------------------------------------------------------------

    async def _judge(self, states: dict[str, object], asked: dict[str, object]) -> list[str]:
        violations = []
        with ServerProcess(self._folder / "quiet", store="memory:") as server:
            async with tapehead.aio.connect(server.grpc) as client:
                for history in self._histories:
                    violations += await self._judge_stream(client, history, states[history.session_id])
                for tale in self._tales:
                    told = await client.conversation(QA_MODEL, tale.session_id)
                    await told.tell(*tale.sentences)
                    if await self._ask(client, tale) != asked[tale.session_id]:
                        violations.append(f"{tale.session_id}: other answers, or another number of sentences")
        return violations

    async def _judge_stream(self, client: tapehead.aio.Client, history: History, state: object) -> list[str]:
        numbers = [step for step, _ in history.answers]
        if numbers != list(range(1, len(history.inputs) + 1)):
            return [f"{history.session_id}: {len(numbers)} answers to {len(history.inputs)} steps, or out of order"]
        async with client.session(MODEL, history.session_id, outputs=OUTPUTS) as session:
            expected = [digest(result) async for result in session.stream(history.inputs)]
        wrong = [step for (step, got), want in zip(history.answers, expected, strict=True) if got != want]
        violations = [f"{history.session_id}: other bits at steps {wrong[:10]}"] if wrong else []
        final = await client.sessions.read_state(history.session_id)
        if not _same_state(final, state):
            violations.append(f"{history.session_id}: another final state")
        return violations


def _same_state(one: object, two: object) -> bool:
    assert isinstance(one, tapehead.State)
    assert isinstance(two, tapehead.State)
    return one.step == two.step and all(
        one.tensors[name].tobytes() == two.tensors[name].tobytes() for name in one.tensors.keys() | two.tensors.keys()
    )


async def _one_by_one(session: tapehead.aio.Session, rows: np.ndarray):  # type: ignore[no-untyped-def]
    for row in rows:
        yield await session.step(row)


async def _patiently(make):  # type: ignore[no-untyped-def]
    """Begins what may begin while the server is away."""
    while True:
        try:
            return await make()
        except tapehead.errors.TapeheadError:
            await asyncio.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    parser.add_argument("--durability", choices=["process", "disk"], default="process")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tapehead-crash-"))
    print(
        f"seed {arguments.seed}, {arguments.kills} ends, {arguments.sessions} streams, {arguments.durability}: {folder}"
    )
    campaign = Campaign(folder, arguments.seed, arguments.kills, arguments.sessions, arguments.durability)
    violations = asyncio.run(campaign.run())
    print(
        f"{arguments.kills} ends of the server, {campaign.steps:,} steps, {campaign.replays:,} answers replayed, "
        f"{len(violations)} violations"
    )
    if violations:
        sys.exit("\n".join([*violations, f"kept: {folder}"]))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

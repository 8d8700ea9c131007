"""Servers that start fast: a process that has imported the service and read the models forks one for each start.

A campaign kills thousands of servers, and nearly all of a start is imports and the self-check of models. What is forked
is the service itself, from its command line on: it opens its own store and sockets, serves, and dies alone.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.ports import free_address

START_SECONDS = 180.0  # on a machine with much else to do


class Nursery:
    """The process that forks servers; a context manager that ends it. Its servers are its children."""

    def __init__(self, models: Path) -> None:
        self._models = models

    def __enter__(self) -> Nursery:
        command = [sys.executable, "-m", "tests.campaigns.nursery", str(self._models)]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # no thread that a fork would leave behind
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, **words: Any) -> int | None:
        """Says one line and returns the answer to it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(words).encode() + b"\n")
        self._process.stdin.flush()
        answer: int | None = json.loads(self._process.stdout.readline())
        return answer


class Nursling:
    """One server of the nursery, on an address that stays; each start may have failpoints, and a planted bug."""

    def __init__(self, nursery: Nursery, folder: Path, store: str, *flags: str, plant: str = "") -> None:
        self.folder = folder
        self.grpc, self.metrics = free_address(), free_address()
        self._nursery = nursery
        self._flags = ("--store", store, *flags)
        self._plant = plant
        self._pid = 0
        self._ended: int | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Nursling:
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_alive:
            self.signal(signal.SIGKILL)
            while self.is_alive:
                time.sleep(0.005)

    @property
    def is_alive(self) -> bool:
        if self._pid and self._ended is None:
            self._ended = self._nursery.ask(poll=self._pid)
        return bool(self._pid) and self._ended is None

    @property
    def exit_code(self) -> int | None:
        """As of a process that has ended; minus the signal that ended it."""
        return self._ended

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def launch(self, failpoints: str = "") -> None:
        """Forks a server and does not wait for it."""
        assert not self.is_alive
        (self.folder / "ready.json").unlink(missing_ok=True)
        flags = ["--address", self.grpc, "--metrics-address", self.metrics]
        flags += ["--ready-file", str(self.folder / "ready.json"), *self._flags]
        pid = self._nursery.ask(
            folder=str(self.folder), flags=flags, plant=self._plant, environment={"TAPEHEAD_FAILPOINTS": failpoints}
        )
        assert pid
        self._pid, self._ended = pid, None

    async def start(self, failpoints: str = "") -> bool:
        """Forks a server and returns when it is ready; False if it ended before that."""
        self.launch(failpoints)
        end = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if not self.is_alive:
                return False
            if time.monotonic() > end:
                self.signal(signal.SIGUSR1)  # where it hangs, into its log
                await self.wait(1.0)
                raise AssertionError(f"not ready after {START_SECONDS} s:\n{self.log}")
            await asyncio.sleep(0.01)
        return True

    def signal(self, number: int) -> None:
        if self.is_alive:
            os.kill(self._pid, number)

    async def wait(self, seconds: float) -> bool:
        """Tells whether it has ended within so long."""
        end = time.monotonic() + seconds
        while self.is_alive and time.monotonic() < end:  # noqa: ASYNC110  # another process has no event to wait for
            await asyncio.sleep(0.005)
        return not self.is_alive

    async def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)
        assert await self.wait(30)

    def _is_ready(self) -> bool:
        try:
            ready = json.loads((self.folder / "ready.json").read_text())
        except FileNotFoundError:
            return False
        self.grpc, self.metrics = ready["grpc"], ready["metrics"]
        return True


# --- in the nursery's own process -------------------------------------------------------------------------------------


def main() -> None:
    import service.process  # noqa: F401  # and with it all that takes long to import
    from service.hosting.repository import Repository
    from service.shelving import cache_folder

    repository = Repository.load(Path(sys.argv[1]), cache_folder=cache_folder())
    assert not repository.broken, repository.broken
    Repository.load = lambda *_, **__: repository  # type: ignore[method-assign]
    children: set[int] = set()
    for line in sys.stdin:
        words = json.loads(line)
        if "poll" in words:
            pid, status = os.waitpid(words["poll"], os.WNOHANG)
            children.discard(pid)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                _serve(words)
            children.add(answer)
        print(json.dumps(answer), flush=True)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _serve(words: dict[str, Any]) -> None:
    """In the child: becomes a server, and ends with its exit code."""
    folder = Path(words["folder"])
    for name, handle in (("out", 1), ("log", 2)):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, handle)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    os.environ.update(words["environment"])
    code = 70
    try:
        if words["plant"]:
            from tests.campaigns.plants import plant

            plant(words["plant"])
        from service.__main__ import main as serve

        code = serve(words["flags"])
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()

"""A real server in a process of its own, on free ports, with a store that outlives it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.ports import free_address

MODELS = Path(__file__).parents[2] / "models"
START_SECONDS = 150.0  # on a busy machine, with models to check for the first time


class ServerProcess:
    """`python -m service`; a context manager that ends what it started.

    folder: where the store (unless `store` says otherwise), the ready file and the log lie.
    shipped: the models of ours that it serves, in place of all: of a start, most is the loading of models.
    The address stays, so that clients find the next process where they left the last one.
    """

    def __init__(self, folder: Path, *flags: str, store: str = "", shipped: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.grpc, self.metrics = free_address(), free_address()
        self._flags = (*flags, "--models", str(_chosen(shipped, folder / "models"))) if shipped else flags
        self._store = store or f"lmdb:{folder / 'sessions'}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        """What all processes so far have written to stdout."""
        return (self.folder / "out").read_text()

    @property
    def log(self) -> str:
        """What all processes so far have written to stderr."""
        return (self.folder / "log").read_text()

    def start(self) -> None:
        """Starts a process and returns when it is ready."""
        self.launch()
        end = time.monotonic() + START_SECONDS
        while not self._is_ready():
            assert time.monotonic() < end, f"not ready after {START_SECONDS} s:\n{self.log}"
            time.sleep(0.02)

    async def restart(self) -> None:
        """Starts a process without stopping the event loop of the clients meanwhile."""
        self.launch()
        end = time.monotonic() + START_SECONDS
        while not self._is_ready():
            assert time.monotonic() < end, f"not ready after {START_SECONDS} s:\n{self.log}"
            await asyncio.sleep(0.02)

    def launch(self) -> None:
        """Starts a process and does not wait for it."""
        (self.folder / "ready.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "service", "--address", self.grpc, "--metrics-address", self.metrics]
        command += ["--store", self._store, "--ready-file", str(self.folder / "ready.json"), *self._flags]
        with (self.folder / "out").open("ab") as out, (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=out, stderr=log)

    def kill(self) -> None:
        """kill -9."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def terminate(self) -> int:
        """SIGTERM, then its exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def wait(self, seconds: float = 60.0) -> int:
        """Waits for the process to end; its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"ended with {self._process.returncode}:\n{self.log}\n{self.output}"
        try:
            ready = json.loads((self.folder / "ready.json").read_text())
        except FileNotFoundError:
            return False
        self.grpc, self.metrics = ready["grpc"], ready["metrics"]
        return True


def _chosen(names: tuple[str, ...], place: Path) -> Path:
    for name in names:
        shutil.copytree(MODELS / name, place / name)
    return place

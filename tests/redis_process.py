"""A real redis-server in a process of its own, on a free port of this machine, with a folder that outlives it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.ports import free_port

START_SECONDS = 60.0
MISSING = "redis-server comes with Debian's package 'redis-server'; 'make test' installs it"


class RedisProcess:
    """A context manager that ends what it started. Its port stays when it is killed and started again."""

    def __init__(self, folder: Path, *flags: str, config: Path | None = None) -> None:
        """config: a file that takes the place of our own settings. flags: as redis-server takes them."""
        self.folder = folder
        self.port = free_port()
        self._flags = flags
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> RedisProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def start(self, awaited: str = "+PONG") -> None:
        """Starts a process and returns when it answers a PING like this, or asks for a password."""
        self.folder.mkdir(parents=True, exist_ok=True)
        program = shutil.which("redis-server")
        assert program, MISSING
        command = [program, *([str(self._config)] if self._config else []), "--port", str(self.port)]
        command += ["--bind", "127.0.0.1", "--dir", str(self.folder)]
        if self._config is None:
            command += ["--save", "", "--appendonly", "yes", "--appendfsync", "no"]
        command += self._flags
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while not self._answers(awaited):
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, "redis-server does not answer"
            time.sleep(0.01)

    def say(self, *words: str) -> str:
        """Sends one command by hand; the first line of the reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            words_sent = [word.encode() for word in words]
            parts = [b"*%d\r\n" % len(words_sent), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in words_sent)]
            connection.sendall(b"".join(parts))
            return connection.makefile("rb").readline().decode(errors="replace").strip()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait(30)

    def _answers(self, awaited: str) -> bool:
        try:
            return self.say("PING").startswith((awaited, "-NOAUTH"))
        except OSError:
            return False

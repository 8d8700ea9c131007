"""A real HAProxy with the configuration that is shipped, in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.ports import free_address

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
START_SECONDS = 60.0
MISSING = "haproxy comes with Debian's package 'haproxy'; 'make test' installs it"


class HaproxyProcess:
    """A context manager that ends what it started. Replicas are given as (gRPC, metrics) addresses, HOST:PORT."""

    def __init__(self, folder: Path, *replicas: tuple[str, str]) -> None:
        self.address = free_address()
        self._folder = folder
        self._environment = {**os.environ, "BIND": self.address}
        for number, (grpc, metrics) in enumerate(replicas, 1):
            self._environment[f"REPLICA_{number}"] = grpc
            self._environment[f"CHECK_{number}"] = metrics.rpartition(":")[2]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> HaproxyProcess:
        program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, MISSING
        with (self._folder / "haproxy.log").open("ab") as log:
            command = [program, "-db", "-f", str(CONFIGURATION)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)
        end = time.monotonic() + START_SECONDS
        while not self._listens():
            assert self._process.poll() is None, (self._folder / "haproxy.log").read_text()
            assert time.monotonic() < end, "haproxy does not listen"
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(30)

    def _listens(self) -> bool:
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return False
        return True

"""A server for an example: the one that TAPEHEAD_SERVER names, or one of its own in a temporary folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 60.0
SHIPPED = Path(__file__).parents[1] / "models"


@contextmanager
def serving(*flags: str) -> Iterator[str]:
    """Gives the address of a server. `flags` are for one that needs its own, such as `--model FILE.onnx`."""
    known = os.environ.get("TAPEHEAD_SERVER")
    if known and not flags:
        yield known
        return
    with tempfile.TemporaryDirectory(prefix="tapehead-example-") as name:
        folder = Path(name)
        ready, log = folder / "ready.json", folder / "log"
        command = [sys.executable, "-m", "service", "--address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"]
        command += ["--store", f"lmdb:{folder / 'sessions'}", "--ready-file", str(ready)]
        command += flags or ["--models", str(SHIPPED)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            end = time.monotonic() + START_SECONDS
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit(f"the server did not start:\n{log.read_text()}")
                time.sleep(0.02)
            yield json.loads(ready.read_text())["grpc"]
        finally:
            process.terminate()
            process.wait()

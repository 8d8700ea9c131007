"""What a message costs under several versions of grpcio: a bare echo of streamed steps, all measured in one run.

    python -m benchmarks.versions [--versions 1.71.2 1.81.1] [--sessions 64] [--seconds 2] [--rounds 3]

Each version lies in a folder of its own (.venv-peers/grpcio-VERSION, installed once) that the echo server alone has in
front of its path; the client is the same for all. `cpu us` is the time of the server's processors for a message, which
hardly changes with what else runs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import streams

PEERS = Path(__file__).parents[1] / ".venv-peers"
VERSIONS = ("1.66.2", "1.71.2", "1.76.0", "1.81.1")
# The messages without the client, whose stubs want the version that generated them.
ECHO = """
import runpy, sys, types
sys.modules["tapehead"] = bare = types.ModuleType("tapehead")
bare.__path__ = ["tapehead"]
runpy.run_module("benchmarks.streams", run_name="__main__", alter_sys=True)
"""


def installed(version: str) -> Path:
    """The folder of a version, made if it is not there."""
    folder = PEERS / f"grpcio-{version}"
    if not (folder / "complete").exists():
        print(f"installing grpcio {version} into {folder} ...", file=sys.stderr)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--quiet", "--no-deps", "--upgrade"]
        subprocess.run([*command, "--target", str(folder), f"grpcio=={version}"], check=True)
        (folder / "complete").touch()
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--versions", nargs="*", default=VERSIONS, help="of grpcio")
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is reported")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        servers = {}
        for version in arguments.versions:
            place = Path(name) / version
            place.mkdir()
            ready = place / "echo.json"
            path = f"PYTHONPATH={installed(version)}"
            servers[version] = (["env", path, sys.executable, "-c", ECHO, "--serve-echo", str(ready)], ready)
        results = streams.compare(servers, [arguments.sessions], arguments.seconds, arguments.rounds, 0)
    best = min(own.cpu for own in results.values())
    print(f"{arguments.sessions} sessions\n")
    print("| grpcio | messages/s | p50 us | cpu us | of the least |\n|---|---|---|---|---|")
    for version in arguments.versions:
        own = results[version, arguments.sessions]
        print(f"| {version} | {own.rate:,.0f} | {own.p50:,.0f} | {own.cpu:,.1f} | {own.cpu / best:.2f} |")


if __name__ == "__main__":
    main()

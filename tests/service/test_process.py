"""What the process says of a server that is ready."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from service.greeting import Addresses
from service.process import _announce
from service.server import Server
from service.settings import Settings
from service.store.base import Durability


def server(ready_file: Path) -> Server:
    """As much of a server as is told."""
    return cast(
        Server,
        SimpleNamespace(
            settings=Settings(store="memory:", ready_file=ready_file),
            addresses=Addresses("127.0.0.1:1", "127.0.0.1:2"),
            repository=SimpleNamespace(models=list, broken={}),
            store=SimpleNamespace(location="memory:", durability=Durability.MEMORY),
        ),
    )


def test_a_ready_file_holds_the_addresses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _announce(server(tmp_path / "ready"))
    assert json.loads((tmp_path / "ready").read_text()) == {"grpc": "127.0.0.1:1", "metrics": "127.0.0.1:2"}
    assert "127.0.0.1:1" in capsys.readouterr().out.splitlines()[-1]


def test_a_ready_file_that_can_no_longer_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its folder was there when the start began."""
    said = f"tapehead: --ready-file: expected a file that can be written, got {tmp_path}/gone/ready: "

    assert not _announce(server(tmp_path / "gone" / "ready"))
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(said)

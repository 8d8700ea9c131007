"""Results that are kept, so that pictures can be drawn without measuring again: one JSON file for each measurement."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def write(folder: Path, name: str, facts: dict[str, Any]) -> None:
    """Keeps what was found under a name, with the day."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {"date": datetime.now(UTC).date().isoformat(), **facts}
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """What was kept under a name; None where nothing was."""
    file = folder / f"{name}.json"
    found: dict[str, Any] | None = json.loads(file.read_text()) if file.exists() else None
    return found

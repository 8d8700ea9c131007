"""What is remembered from start to start, in small JSON files: to lose it, or not to keep it, costs time alone."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any


def recall(place: Path) -> Any:
    """Returns what lies there; None if there is nothing that can be read."""
    try:
        return json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def remember(place: Path, facts: Any) -> None:
    """Writes `facts` so that nobody ever reads a part of them, if they can be written."""
    draft = place.with_suffix(f".{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(facts), encoding="utf-8")
        draft.replace(place)
    except OSError:
        with suppress(OSError):
            draft.unlink()

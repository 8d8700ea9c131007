"""What the self-check of batches found, and how it is remembered from start to start."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from .cache import recall, remember
from .model import chunk_key

_RULES = 3  # counts up when the self-check tries more, so that cached verdicts of less are not believed


@dataclass(frozen=True, slots=True)
class EntryVerdict:
    """How one entry may be run."""

    max_batch: int  # the largest batch that was checked; 1 if rows differed
    multiple: int = 1  # batches must be padded to a multiple of so many rows
    reason: str = ""  # the first difference; empty if there was none


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check found, by entry."""

    entries: dict[str, EntryVerdict]
    chunks: dict[int, int] = field(default_factory=dict)  # steps of one run -> the largest batch that was checked
    chunk_reason: str = ""  # the first difference between a chunk and its steps; empty if there was none

    @property
    def reason(self) -> str:
        """Why some entries run one row at a time; empty if none does."""
        found = (f"entry {name!r}: {entry.reason}" for name, entry in self.entries.items() if entry.reason)
        return "; ".join(found)

    @property
    def multiples(self) -> dict[str, int]:
        """The entries that must be padded, and to what."""
        found = {name: entry.multiple for name, entry in self.entries.items() if entry.multiple > 1}
        return found | ({"chunk": found["step"]} if self.chunks and "step" in found else {})

    @property
    def max_batches(self) -> dict[str, int]:
        chunks = {chunk_key(steps): rows for steps, rows in self.chunks.items()}
        return {name: entry.max_batch for name, entry in self.entries.items()} | chunks

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        """How many steps one run may take, most first."""
        return tuple(sorted(self.chunks, reverse=True))


def read_verdict(place: Path) -> Verdict | None:
    """Returns a verdict found before; None if there is none to be believed."""
    try:
        found = recall(place)
        if found["rules"] != _RULES:
            return None
        return Verdict(
            {name: EntryVerdict(**entry) for name, entry in found["entries"].items()},
            {int(steps): rows for steps, rows in found["chunks"].items()},
            found["chunk_reason"],
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # not there, or not ours: check again


def write_verdict(place: Path, verdict: Verdict) -> None:
    """Keeps a verdict for the next start, if it can be kept."""
    remember(place, {"rules": _RULES, **asdict(verdict)})

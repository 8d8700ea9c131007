"""Which waiting steps run next. Pure: no await, no clock, no numbers of a model.

Work that may share a run carries the same batch key. Keys take turns by the age of their oldest work, and within a key
work runs in the order in which it came; a chunk that has steps left goes to the end of the line after each one, so
that neither a long chunk nor a busy model starves the others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class Schedulable(Protocol):
    """What the scheduler knows of a piece of work."""

    @property
    def batch_key(self) -> Hashable: ...
    @property
    def batch_limit(self) -> int: ...


W = TypeVar("W", bound=Schedulable)


class Scheduler(Generic[W]):
    """Holds what waits to be run, at most one piece of work of a session at a time."""

    def __init__(self) -> None:
        self._lines: OrderedDict[Hashable, OrderedDict[W, None]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __repr__(self) -> str:
        return f"<Scheduler: {len(self)} waiting | {len(self._lines)} batch keys>"

    def add(self, work: W) -> None:
        """Puts work at the end of its line."""
        line = self._lines.get(work.batch_key)
        if line is None:
            line = self._lines[work.batch_key] = OrderedDict()
        line[work] = None

    def remove(self, work: W) -> None:
        """Takes work out; nothing happens if it does not wait."""
        line = self._lines.get(work.batch_key)
        if line is not None:
            line.pop(work, None)
            if not line:
                del self._lines[work.batch_key]

    def next_batch(self) -> list[W]:
        """Takes out the next work to run together; empty if nothing waits."""
        if not self._lines:
            return []
        key, line = self._lines.popitem(last=False)
        limit = next(iter(line)).batch_limit
        batch = [line.popitem(last=False)[0] for _ in range(min(limit, len(line)))]
        if line:
            self._lines[key] = line  # behind the other keys
        return batch

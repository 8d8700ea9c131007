"""Which waiting steps run next. Pure: no await, no clock, no numbers of a model.

Work that may share a run carries the same batch key. Keys take turns by the age of their oldest work; within a key the
owners take turns, and an owner's work runs in the order in which it came. Who has more waiting than the others may fill
a batch up only as far as that does not keep them long. A chunk that has steps left goes to the end of its owner's line
after each run. So neither a long chunk, nor a busy model, nor a greedy owner starves the others.
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
    @property
    def owner(self) -> str: ...
    def limit_beside(self, rows: int) -> int:
        """The most rows of a batch of which so many are evenly shared between the owners."""
        ...


W = TypeVar("W", bound=Schedulable)


class Scheduler(Generic[W]):
    """Holds what waits to be run, at most one piece of work of a session at a time."""

    def __init__(self) -> None:
        self._lines: OrderedDict[Hashable, _Line[W]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __repr__(self) -> str:
        return f"<Scheduler: {len(self)} waiting | {len(self._lines)} batch keys>"

    def add(self, work: W) -> None:
        """Puts work at the end of its owner's line."""
        line = self._lines.get(work.batch_key)
        if line is None:
            line = self._lines[work.batch_key] = _Line()
        line.add(work)

    def remove(self, work: W) -> None:
        """Takes work out; nothing happens if it does not wait."""
        line = self._lines.get(work.batch_key)
        if line is not None:
            line.remove(work)
            if not line:
                del self._lines[work.batch_key]

    def has_full_batch(self) -> bool:
        """Whether the next batch would be as large as it may be."""
        line = next(iter(self._lines.values()), None)
        return line is not None and line.is_full()

    def next_batch(self) -> list[W]:
        """Takes out the next work to run together; empty if nothing waits."""
        if not self._lines:
            return []
        key, line = self._lines.popitem(last=False)
        batch = line.take()
        if line:
            self._lines[key] = line  # behind the other keys
        return batch


class _Line(Generic[W]):
    """The work of one batch key; none of its owners is without work."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, OrderedDict[W, None]] = OrderedDict()  # whose turn it is first

    def __len__(self) -> int:
        return sum(map(len, self._owners.values()))

    def __bool__(self) -> bool:
        return bool(self._owners)

    def add(self, work: W) -> None:
        own = self._owners.get(work.owner)
        if own is None:
            own = self._owners[work.owner] = OrderedDict()
        own[work] = None

    def remove(self, work: W) -> None:
        own = self._owners.get(work.owner)
        if own is not None:
            own.pop(work, None)
            if not own:
                del self._owners[work.owner]

    def is_full(self) -> bool:
        """Whether `take` would reach its limit."""
        first = next(iter(next(iter(self._owners.values()))))
        return len(self) >= first.batch_limit

    def take(self) -> list[W]:
        """Takes out as much as may run together, one of each owner in turn."""
        batch: list[W] = []
        owners = len(self._owners)
        limit = 1  # until the first says how many
        while self._owners and len(batch) < limit:
            owner, own = self._owners.popitem(last=False)
            batch.append(own.popitem(last=False)[0])
            if len(batch) == 1:
                limit = batch[0].batch_limit
            if owners > 1 and not own and len(self._owners) == owners - 1:  # the first to have nothing more
                turns = -(-len(batch) // owners)
                limit = min(limit, batch[0].limit_beside(turns * owners))
            while own and not self._owners and len(batch) < limit:  # nobody else waits
                batch.append(own.popitem(last=False)[0])
            if own:
                self._owners[owner] = own  # behind the other owners
        return batch

"""Which versions of a model are offered, of those that there are. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

_LATEST = re.compile(r"latest:([1-9][0-9]{0,3})")
_PIN = re.compile(r"([A-Za-z0-9._-]+)=([0-9]+(?:,[0-9]+)*)")


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """The newest so many versions of each model, and exactly the pinned ones of some."""

    latest: int = 0  # 0 is all
    pinned: Mapping[str, frozenset[int]] = field(default_factory=dict)  # by model

    @classmethod
    def parse(cls, text: str) -> VersionPolicy:
        """Reads `all` or `latest:N`, then any number of `MODEL=VERSION,VERSION`. Raises ValueError."""
        first, *rest = text.split() or [""]
        pins = [match for word in rest if (match := _PIN.fullmatch(word))]
        latest = _LATEST.fullmatch(first)
        if (first != "all" and latest is None) or len(pins) != len(rest):
            raise ValueError("expected all or latest:N, and then MODEL=VERSION,VERSION for each pinned model")
        versions = {pin[1]: frozenset(map(int, pin[2].split(","))) for pin in pins}
        return cls(int(latest[1]) if latest else 0, versions)

    def wanted(self, model_id: str, versions: Collection[int]) -> set[int]:
        """Those of a model's versions that are offered."""
        if model_id in self.pinned:
            return set(versions) & self.pinned[model_id]
        newest = sorted(versions, reverse=True)
        return set(newest[: self.latest] if self.latest else newest)

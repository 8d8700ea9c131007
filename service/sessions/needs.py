"""How many sessions there are of each model and version."""

from __future__ import annotations

import asyncio
from collections import Counter

from ..store.base import Store

PAGE = 256  # heads that are read at once


async def count_by_model(store: Store) -> Counter[tuple[str, int]]:
    """Counts the sessions of all owners by (model, version). Reads every head, a page at a time."""
    counts: Counter[tuple[str, int]] = Counter()
    owner: list[str] = await store.owners(None, 1)
    while owner:
        after = ""
        while page := await store.list(owner[0], after, PAGE):
            counts.update((head.birth.model_id, head.birth.model_version) for _, head in page)
            after = page[-1][0]
            if len(page) < PAGE:
                break
            await asyncio.sleep(0)
        owner = await store.owners(owner[0], 1)
    return counts

"""Pages of sessions: one owner's, or everybody's, by what is asked of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..store.base import Head, Key, Store


@dataclass(frozen=True, slots=True)
class SessionView:
    """What is told about a session."""

    session_id: str
    head: Head
    attached: bool
    owner: str = ""  # where the sessions of all owners are listed


@dataclass(frozen=True, slots=True)
class Filter:
    """Which sessions are wanted."""

    model_id: str = ""  # "" is any
    labels: Mapping[str, str] = field(default_factory=dict)  # all of them
    attached: bool | None = None

    def matches(self, view: SessionView) -> bool:
        birth = view.head.birth
        return (
            (not self.model_id or birth.model_id == self.model_id)
            and self.labels.items() <= birth.labels.items()
            and (self.attached is None or view.attached == self.attached)
        )


class Listing:
    """Reads pages from the store."""

    def __init__(self, store: Store, is_attached: Callable[[Key], bool]) -> None:
        self._store = store
        self._is_attached = is_attached

    async def page(self, owner: str, after: str, limit: int, wanted: Filter) -> tuple[list[SessionView], str]:
        """At most `limit` sessions of an owner, in the order of ids, and the id to go on after: empty at the end."""
        return await self._page(owner, after, limit, wanted, shown_owner="")

    async def page_of_all(self, after: str, limit: int, wanted: Filter) -> tuple[list[SessionView], str]:
        """As `page`, of all owners in their order; `after` is what an earlier page said, or empty."""
        views: list[SessionView] = []
        owner, _, session_id = after.partition("\0")
        if not after:
            first = await self._store.owners(None, 1)
            if not first:
                return views, ""
            owner = first[0]
        while len(views) < limit:
            page, rest = await self._page(owner, session_id, limit - len(views), wanted, shown_owner=owner)
            views += page
            if rest:
                return views, f"{owner}\0{rest}"
            following = await self._store.owners(owner, 1)
            if not following:
                return views, ""
            owner, session_id = following[0], ""
        return views, f"{owner}\0"

    async def _page(
        self, owner: str, after: str, limit: int, wanted: Filter, *, shown_owner: str
    ) -> tuple[list[SessionView], str]:
        views: list[SessionView] = []
        while len(views) < limit:
            page = await self._store.list(owner, after, limit)
            for session_id, head in page:
                after = session_id
                view = SessionView(session_id, head, self._is_attached(Key(owner, session_id)), shown_owner)
                if wanted.matches(view):
                    views.append(view)
                    if len(views) == limit:
                        break
            else:
                if len(page) < limit:
                    return views, ""
        return views, after

"""ServerService: decode, ask, encode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tapehead.v1 import server_service_pb2 as pb

from ..sessions.owners import Role
from ..store.base import Durability
from .call import Call
from .views import durability_view, timestamp


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What does not change while the server runs, without secrets."""

    version: str
    store: str
    durability: Durability
    settings: Mapping[str, str]
    start_time: float  # seconds since the epoch
    components: Mapping[str, str]


class ServerService:
    """Serves tapehead.v1.ServerService."""

    def __init__(self, facts: ServerFacts, statistics: Callable[[], Mapping[str, int]]) -> None:
        """`statistics` gives the fields of GetStatisticsResponse by name."""
        self._facts = facts
        self._statistics = statistics

    async def get_server(self, _request: pb.GetServerRequest, _call: Call) -> pb.GetServerResponse:
        facts = self._facts
        return pb.GetServerResponse(
            version=facts.version,
            store=facts.store,
            durability=durability_view(facts.durability),
            settings=facts.settings,
            start_time=timestamp(facts.start_time),
            components=facts.components,
        )

    async def get_statistics(self, _request: pb.GetStatisticsRequest, call: Call) -> pb.GetStatisticsResponse:
        call.caller.require(Role.OPERATOR, "reading the statistics of the server")
        return pb.GetStatisticsResponse(**self._statistics())

"""What a Redis can promise, as far as it tells.

A reply that Redis gives after it has written and synced its log survives the loss of power (`appendfsync always`). One
that it gives after it has written its log survives the death of its own process (`appendfsync no`). With `everysec` it
may put the writing off, so that nothing certain can be said.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import StoreUnavailable, TapeheadError
from .base import Durability

Ask = Callable[..., Awaitable[object]]  # sends one command and gives its reply; an error of Redis' comes as a reply

_OLDEST = (7, 0)  # whose scripts say of themselves whether they may run in a full store
_NAMES = ("appendonly", "appendfsync", "no-appendfsync-on-rewrite")


class RedisUnfit(TapeheadError):
    """This Redis cannot keep sessions, or not as durably as was asked."""

    def __init__(self, location: str, why: str) -> None:
        super().__init__(f"Redis at {location}: {why}", location=location)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a Redis says of itself."""

    info: Mapping[str, str]
    config: Mapping[str, str] = field(default_factory=dict)  # empty if it may not be read

    @property
    def is_cluster(self) -> bool:
        return self.info.get("cluster_enabled") == "1"


async def facts_of(location: str, ask: Ask) -> Facts:
    """Raises RedisUnfit if it tells nothing of itself, StoreUnavailable while it is not ready."""
    answer = await ask("INFO")
    if not isinstance(answer, bytes):
        raise RedisUnfit(location, f"INFO: {answer}")
    info = _parsed_info(answer)
    if info.get("loading", "0") != "0":
        raise StoreUnavailable(f"Redis at {location} is loading its data")
    config = await ask("CONFIG", "GET", *_NAMES)
    return Facts(info, _parsed_config(config) if isinstance(config, list) else {})


def judge(location: str, facts: Facts, asked: Durability | None, asserted: Durability | None) -> Durability:
    """The level to declare: the one asked for, or the strongest. Raises RedisUnfit with what to change."""
    _require_keeper(location, facts)
    if asked is Durability.MEMORY:
        return asked
    if facts.config:
        best, remedy = _best(facts.config)
    elif asserted is None:
        raise RedisUnfit(
            location,
            "it does not let its configuration be read; if you know what it honours, say so: "
            "--redis-durability process or --redis-durability disk",
        )
    else:
        best, remedy = asserted, f"it is said to honour '{asserted.name.lower()}' by --redis-durability"
    if best is None or (asked is not None and asked > best):
        wanted = f"durability '{asked.name.lower()}' is not to be had" if asked else "it promises nothing certain"
        raise RedisUnfit(location, f"{wanted}: {remedy}")
    return asked or best


def _require_keeper(location: str, facts: Facts) -> None:
    info = facts.info
    version = info.get("redis_version", "0")
    numbers = [int(part) for part in version.split(".")[:2] if part.isdigit()]
    if tuple(numbers) < _OLDEST:
        raise RedisUnfit(location, f"expected version 7.0 or newer, got {version}")
    if (role := info.get("role", "")) != "master":
        raise RedisUnfit(location, f"expected a primary, got a {'replica' if role == 'slave' else role or 'stranger'}")
    if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
        raise RedisUnfit(
            location, f"its maxmemory-policy is {policy}, which drops sessions: CONFIG SET maxmemory-policy noeviction"
        )


def _best(config: Mapping[str, str]) -> tuple[Durability | None, str]:
    """The strongest level, and what to change for a stronger one."""
    if config.get("appendonly") != "yes":
        return None, "it keeps no log: CONFIG SET appendonly yes, and CONFIG SET appendfsync always"
    match config.get("appendfsync"):
        case "always" if config.get("no-appendfsync-on-rewrite") == "yes":
            return (
                Durability.PROCESS,
                "its log is not synced while it is rewritten: CONFIG SET no-appendfsync-on-rewrite no",
            )
        case "always":
            return Durability.DISK, ""
        case "no":
            return Durability.PROCESS, "its log is not synced: CONFIG SET appendfsync always"
        case other:
            return None, (
                f"appendfsync is {other}, which puts writes off: CONFIG SET appendfsync always for 'disk', or no for "
                "'process'"
            )


def _parsed_info(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines() if not line.startswith("#"))
    return {name: value for name, _, value in lines}


def _parsed_config(config: Sequence[bytes]) -> dict[str, str]:
    words = [word.decode() for word in config]
    return dict(zip(words[::2], words[1::2], strict=True))

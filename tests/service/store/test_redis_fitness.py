"""What a Redis may promise follows from its configuration, and a refusal says what to change."""

from __future__ import annotations

import pytest

from service.store.base import Durability
from service.store.redis_fitness import Facts, RedisUnfit, judge

PRIMARY = {"redis_version": "7.0.15", "role": "master", "maxmemory_policy": "noeviction", "cluster_enabled": "0"}
ALWAYS = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
DISK, PROCESS, MEMORY = Durability.DISK, Durability.PROCESS, Durability.MEMORY


@pytest.mark.parametrize(
    ("config", "asked", "asserted", "level"),
    [
        ({}, None, None, DISK),
        ({}, PROCESS, None, PROCESS),
        ({"appendfsync": "no"}, None, None, PROCESS),
        ({"no-appendfsync-on-rewrite": "yes"}, None, None, PROCESS),
        ({"appendonly": "no"}, MEMORY, None, MEMORY),
        ({"appendfsync": "everysec"}, MEMORY, None, MEMORY),
        ({"appendfsync": "no"}, None, DISK, PROCESS),  # what can be read counts
        (None, None, PROCESS, PROCESS),
        (None, PROCESS, DISK, PROCESS),
    ],
)
def test_the_level_is_the_strongest_or_what_was_asked_for(
    config: dict[str, str] | None, asked: Durability | None, asserted: Durability | None, level: Durability
) -> None:
    facts = Facts(PRIMARY, {} if config is None else ALWAYS | config)

    assert judge("redis://h", facts, asked, asserted) is level


@pytest.mark.parametrize(
    ("info", "config", "asked", "asserted", "said"),
    [
        ({}, {"appendfsync": "everysec"}, None, None, "CONFIG SET appendfsync always for 'disk', or no for 'process'"),
        ({}, {"appendfsync": "everysec"}, PROCESS, None, "durability 'process' is not to be had: appendfsync is every"),
        ({}, {"appendfsync": "no"}, DISK, None, "CONFIG SET appendfsync always"),
        ({}, {"appendonly": "no"}, None, None, "CONFIG SET appendonly yes"),
        ({}, {"no-appendfsync-on-rewrite": "yes"}, DISK, None, "CONFIG SET no-appendfsync-on-rewrite no"),
        ({}, None, None, None, "--redis-durability process or --redis-durability disk"),
        ({}, None, DISK, PROCESS, "said to honour 'process'"),
        ({"maxmemory_policy": "allkeys-lru"}, {}, None, None, "CONFIG SET maxmemory-policy noeviction"),
        ({"maxmemory_policy": "volatile-ttl"}, {}, MEMORY, None, "CONFIG SET maxmemory-policy noeviction"),
        ({"role": "slave"}, {}, None, None, "expected a primary, got a replica"),
        ({"redis_version": "6.2.7"}, {}, None, None, "expected version 7.0 or newer, got 6.2.7"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_what_to_change(
    info: dict[str, str], config: dict[str, str] | None, asked: Durability, asserted: Durability, said: str
) -> None:
    facts = Facts(PRIMARY | info, {} if config is None else ALWAYS | config)

    with pytest.raises(RedisUnfit) as caught:
        judge("redis://h", facts, asked, asserted)

    assert caught.value.message.startswith("Redis at redis://h: ")
    assert said in caught.value.message

"""A short campaign on each store, and the oracle's own test: it must find every bug that is planted."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.campaigns.campaign import Plan, chosen_models, failpoints_of, run
from tests.campaigns.nursery import Nursery
from tests.campaigns.plants import PLANTS

pytestmark = pytest.mark.end_to_end

SETTINGS = [("lmdb-process", 1, 18), ("lmdb-disk", 1, 12), ("redis", 3, 16)]  # 46 ends, 3 of them by SIGTERM

# What brings each bug to light: the store, the replicas, the operations, the failpoints. A campaign ends at its first
# violation, so that many failpoints cost nothing where a few are enough.
TRAPS = {
    "answer_before_commit": Plan(failpoints=("commit.before=kill@9",) * 3),
    "no_epoch_check": Plan("redis", 2, only=("old stream",)),
    "no_incarnation_check": Plan("redis", 2, only=("ghost",)),
    "no_input_hash_check": Plan(only=("mismatch",)),
    "resent_commit": Plan(),
    "copy_kept_after_unknown": Plan(only=("unary",), failpoints=("commit.after=error@9",) * 80),
    "answer_from_memory_after_lost": Plan("redis", 2, only=("stale copy",)),
    "stale_kept_state": Plan(only=("stream",)),
}


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery(chosen_models()) as nursery:
        yield nursery


@pytest.mark.parametrize(("setting", "replicas", "kills"), SETTINGS)
def test_kills_at_random_instants_and_failpoints_break_no_promise(
    nursery: Nursery, setting: str, replicas: int, kills: int
) -> None:
    seed = time.time_ns() % 10**6
    print(f"seed {seed}: make crash ARGS='--setting {setting} --replicas {replicas} --seeds {seed}:{seed + 1}'")
    result = run(Plan(setting, replicas, seed, workers=6, tellers=1, kills=kills), nursery)

    assert result.violations == []
    assert result.deaths >= kills - kills // 10
    assert result.steps > 100


def test_every_bug_has_a_trap() -> None:
    assert TRAPS.keys() == PLANTS.keys()


@pytest.mark.parametrize("bug", TRAPS)
def test_a_planted_bug_is_found(nursery: Nursery, bug: str) -> None:
    trap = TRAPS[bug]
    plan = Plan(
        trap.setting,
        trap.replicas,
        seed=time.time_ns() % 10**6,
        workers=4,
        tellers=0,
        kills=0,
        failpoints=trap.failpoints,
        only=trap.only,
        plant=bug,
        quiet_seconds=0.0 if trap.failpoints else 60.0,  # it ends at the first violation
    )
    print(f"seed {plan.seed}")

    result = run(plan, nursery)

    assert result.violations
    print(result.violations)


def test_each_store_has_failpoints_of_its_own() -> None:
    names = {setting: {name for name, _ in failpoints_of(setting)} for setting, _, _ in SETTINGS}

    assert "commit.transaction" in names["lmdb-disk"] - names["redis"]
    assert "redis.sent" in names["redis"] - names["lmdb-disk"]

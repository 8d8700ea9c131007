"""Kills servers at random instants and at every failpoint while sessions go on, and judges what the clients got.

    make crash ARGS="--seeds 1:20 --setting lmdb-process --results crash.jsonl"
    make crash ARGS="--failpoints --setting redis --replicas 3"
    make crash ARGS="--summary --results crash.jsonl"

Workers step sessions of real models in every way there is (`workload`, `stories`), on a store in LMDB or in Redis, with
one or several replicas. Servers die by kill -9 at random instants, sometimes while they start, at failpoints, and now
and then by SIGTERM; Redis dies too. `oracle` then compares every answer, every stored answer and every final state, bit
for bit, with the same steps run by onnxruntime alone in another process. On a violation the folder with the store, the
logs and the histories is kept. Results are appended to a file, and seeds that it has are not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from .campaign import SETTINGS, Plan, Result, chosen_models, failpoints_of, run
from .nursery import Nursery


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--setting", choices=SETTINGS, default="lmdb-process")
    parser.add_argument("--replicas", type=int, default=1, help="servers on one Redis")
    parser.add_argument("--seeds", default="1:2", help="FIRST:LAST, the last one left out")
    parser.add_argument("--kills", type=int, default=50, help="of one seed")
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--failpoints", action="store_true", help="every failpoint, first to third hit, kill and error")
    parser.add_argument("--results", type=Path, default=Path("crash.jsonl"))
    parser.add_argument("--summary", action="store_true", help="print what the results file holds, and run nothing")
    arguments = parser.parse_args()
    if arguments.summary:
        print("\n".join(summary(arguments.results)))
        return
    first, last = map(int, arguments.seeds.split(":"))
    points: tuple[str, ...] = ()
    if arguments.failpoints:
        able = failpoints_of(arguments.setting)
        points = tuple(f"{name}={action}@{hit}" for name, hit in able for action in ("kill", "error"))
    plans = [
        Plan(
            arguments.setting,
            arguments.replicas,
            seed,
            arguments.workers,
            max(1, arguments.workers // 6),
            arguments.kills,
            points,
            quiet_seconds=0.5 if points else 0.0,
        )
        for seed in range(first, last)
    ]
    plans = [plan for plan in plans if not _is_done(arguments.results, plan)]
    if plans and not _run_all(plans, arguments.results):
        sys.exit("violations")


def _run_all(plans: list[Plan], results: Path) -> bool:
    """Runs them one after the other, writes down each; tells whether all went well."""
    went_well = True
    with Nursery(chosen_models()) as nursery:
        for plan in plans:
            result = run(plan, nursery)
            with results.open("a") as file:
                file.write(json.dumps({"date": time.strftime("%F"), "commit": _commit(), **asdict(result)}) + "\n")
            print(_sentence(result), flush=True)
            went_well &= not result.violations
    return went_well


def _sentence(result: Result) -> str:
    plan = result.plan
    return (
        f"{plan.setting} x{plan.replicas}, seed {plan.seed}: {result.deaths} kills "
        f"({len(result.reached)} failpoints reached, {len(result.missed)} not), {result.drains} drains, "
        f"{result.sessions} sessions, {result.steps:,} steps, {result.replayed} replayed, "
        f"{len(result.violations)} violations, {result.seconds} s"
        + "".join(f"\n  not reached: {point}" for point in result.missed if plan.failpoints)
        + "".join(f"\n  VIOLATION {violation}" for violation in result.violations)
    )


def _is_done(results: Path, plan: Plan) -> bool:
    wanted = json.loads(json.dumps(asdict(plan)))
    return any(line["plan"] == wanted for line in _lines(results))


def _lines(results: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def _commit() -> str:
    words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def summary(results: Path) -> list[str]:
    """One row of docs/track-record.md for each setting and commit."""
    groups: dict[tuple[str, ...], list[dict]] = {}  # type: ignore[type-arg]
    for line in _lines(results):
        plan = line["plan"]
        assert isinstance(plan, dict)
        key = (str(line["date"]), str(line["commit"]), plan["setting"], str(plan["replicas"]))
        groups.setdefault(key, []).append(line)
    rows = []
    for (date, commit, setting, replicas), lines in groups.items():
        seeds = sorted(line["plan"]["seed"] for line in lines)
        reached = {point for line in lines for point in line["reached"]}
        cells = [
            date,
            commit,
            setting,
            replicas,
            f"{seeds[0]} to {seeds[-1]}",
            f"{sum(line['kills'] + line['start_kills'] for line in lines):,}",
            f"{sum(line['redis_kills'] for line in lines):,}",
            f"{sum(len(line['reached']) for line in lines):,} ({len({point.partition('=')[0] for point in reached})})",
            f"{sum(line['sessions'] for line in lines):,}",
            f"{sum(line['steps'] for line in lines):,}",
            f"{sum(line['replayed'] for line in lines):,}",
            f"{sum(not text.startswith('kept: ') for line in lines for text in line['violations'])}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


if __name__ == "__main__":
    main()

"""The order of runs."""

from __future__ import annotations

from dataclasses import dataclass

from service.engine.scheduler import Scheduler


@dataclass(eq=False)
class Waiting:
    name: str
    batch_key: str
    batch_limit: int = 2
    owner: str = ""

    def limit_beside(self, rows: int) -> int:
        return 2 * rows


def names(batch: list[Waiting]) -> str:
    return " ".join(work.name for work in batch)


def test_work_of_one_key_runs_together_in_order_up_to_the_limit() -> None:
    scheduler: Scheduler[Waiting] = Scheduler()
    for name in "abc":
        scheduler.add(Waiting(name, "k"))

    assert [names(scheduler.next_batch()), names(scheduler.next_batch()), names(scheduler.next_batch())] == [
        "a b",
        "c",
        "",
    ]


def test_keys_take_turns() -> None:
    scheduler: Scheduler[Waiting] = Scheduler()
    for name, key in [("a", "k"), ("b", "k"), ("c", "k"), ("x", "l"), ("y", "l"), ("z", "l")]:
        scheduler.add(Waiting(name, key))

    assert [names(scheduler.next_batch()) for _ in range(4)] == ["a b", "x y", "c", "z"]


def test_owners_take_turns_within_a_key_and_each_keeps_its_order() -> None:
    scheduler: Scheduler[Waiting] = Scheduler()
    for name, owner in [("a1", "ada"), ("a2", "ada"), ("a3", "ada"), ("a4", "ada"), ("b1", "bob"), ("c1", "cy")]:
        scheduler.add(Waiting(name, "k", owner=owner))
    first = names(scheduler.next_batch())
    scheduler.add(Waiting("b2", "k", owner="bob"))

    assert [first, *(names(scheduler.next_batch()) for _ in range(3))] == ["a1 b1", "c1 a2", "b2 a3", "a4"]


def test_who_has_more_waiting_does_not_fill_a_batch_that_others_wait_for() -> None:
    scheduler: Scheduler[Waiting] = Scheduler()
    for owner, count in (("ada", 7), ("bob", 2)):
        for n in range(count):
            scheduler.add(Waiting(f"{owner[0]}{n + 1}", "k", 100, owner))

    # Two of each are even; as many again may be added, and without the other owner there is no bound but the limit.
    assert [names(scheduler.next_batch()) for _ in range(2)] == ["a1 b1 a2 b2 a3 a4 a5 a6", "a7"]


def test_an_owner_whose_work_was_taken_out_has_no_turn() -> None:
    scheduler: Scheduler[Waiting] = Scheduler()
    gone = Waiting("gone", "k", owner="bob")
    for work in (Waiting("a1", "k", owner="ada"), gone, Waiting("a2", "k", owner="ada")):
        scheduler.add(work)
    scheduler.remove(gone)

    assert (len(scheduler), names(scheduler.next_batch())) == (2, "a1 a2")


def test_a_chunk_goes_to_the_end_of_the_line_after_each_step() -> None:
    scheduler: Scheduler[Waiting] = Scheduler()
    chunk, single = Waiting("chunk", "k", 1), Waiting("single", "k", 1)
    scheduler.add(chunk)
    scheduler.add(single)

    [first] = scheduler.next_batch()
    scheduler.add(first)

    assert names(scheduler.next_batch()) == "single"


def test_work_taken_out_does_not_run() -> None:
    scheduler: Scheduler[Waiting] = Scheduler()
    gone, stays = Waiting("gone", "k"), Waiting("stays", "k")
    scheduler.add(gone)
    scheduler.add(stays)

    scheduler.remove(gone)
    scheduler.remove(gone)

    assert repr(scheduler) == "<Scheduler: 1 waiting | 1 batch keys>"
    assert names(scheduler.next_batch()) == "stays"

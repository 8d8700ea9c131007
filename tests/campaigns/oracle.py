"""Judges what clients got while servers died, against the same steps run by onnxruntime alone."""

from __future__ import annotations

from collections.abc import Sequence

import tapehead
from service.hosting.model import Model
from tapehead import errors
from tapehead.aio import Client

from .history import OUTPUTS, History, Reference, state_digest
from .stories import bits
from .workload import ABANDONED, KEEP_EVERY, KEEP_MOST, WINDOW, copy_rows

CONTROL_STEPS = 5


async def judge(client: Client, model: Model, histories: Sequence[History]) -> list[str]:
    """Returns what is wrong; `client` speaks to a server that nobody disturbs any more."""
    reference = Reference(model, histories)
    violations = []
    for history in histories:
        expected = reference.answers[history]
        wrong = [step for step, got in history.answers.items() if got != expected.get(step)]
        if wrong:
            violations.append(f"{history}: other bits at steps {wrong[:10]}")
        if not history.is_deleted:
            violations += await _judge_stored(client, history, reference)
    return violations + await _judge_names(client, histories)


async def _judge_stored(client: Client, history: History, reference: Reference) -> list[str]:
    """What the store has: numbers, final state, and every answer that is kept."""
    try:
        info = await client.sessions.get(history.session_id, incarnation=history.incarnation)
        state = await client.sessions.read_state(history.session_id, incarnation=history.incarnation)
        token = tapehead.ResumeToken(history.session_id, history.incarnation, info.oldest_kept_answer - 1, "")
        async with client.session(resume=token) as session:
            kept = await session.missed()
        states = {
            step: await client.sessions.read_state(history.session_id, step=step, incarnation=history.incarnation)
            for step in info.kept_steps
        }
    except errors.TapeheadError as error:
        return [f"{history}: at the end {type(error).__name__}: {error}"]
    violations = []
    wrong = [
        step for step, found in states.items() if state_digest(found.tensors) != reference.digest_of(history, step)
    ]
    if wrong:
        violations.append(f"{history}: other states are kept of the steps {wrong}")
    own = [step for step in info.kept_steps if history.origin < step < history.last_step]
    due = history.last_step // KEEP_EVERY - history.origin // KEEP_EVERY  # a chunk passes two at most
    if len(own) > KEEP_MOST or (due > 2 and not own) or {0, history.last_step} - set(info.kept_steps):
        violations.append(f"{history}: keeps {info.kept_steps} of {history.origin} to {history.last_step}")
    if info.committed_step != history.last_step:
        violations.append(f"{history}: committed {info.committed_step} steps, not {history.last_step}")
    if bits(state) != {name: array.tobytes() for name, array in reference.finals[history].items()}:
        violations.append(f"{history}: another final state")
    numbers = [step for answer in kept for step in range(answer.step, answer.last_step + 1)]
    if numbers != list(range(info.oldest_kept_answer, info.committed_step + 1)):
        violations.append(f"{history}: the kept answers are of the steps {numbers}")
    if info.oldest_kept_answer > max(history.origin + 1, history.last_step - WINDOW + 1):
        violations.append(f"{history}: the oldest kept answer is {info.oldest_kept_answer} of {info.committed_step}")
    for answer in kept:
        violations += history.answered(answer)
    wrong = [step for step in numbers if history.answers[step] != reference.answers[history].get(step)]
    if wrong:
        violations.append(f"{history}: other bits in the kept answers of the steps {wrong[:10]}")
    return violations


async def _judge_names(client: Client, histories: Sequence[History]) -> list[str]:
    """The sessions that are listed are those that live, each once."""
    listed = sorted(
        info.session_id
        for info in await client.sessions.list(model_id="ntm-copy")
        if not info.session_id.startswith(ABANDONED)
    )
    living = sorted(history.session_id for history in histories if not history.is_deleted)
    if listed == living:
        return []
    return [f"listed but not alive: {set(listed) - set(living)}; alive but not listed: {set(living) - set(listed)}"]


async def judge_counters(clients: Sequence[Client]) -> list[str]:
    """So many steps that nobody disturbs move the counters of the replicas by just as many."""
    import random

    before = [(await client.statistics()).committed_step_count for client in clients]
    rows = copy_rows(random.Random(0))[:CONTROL_STEPS]
    async with clients[0].session("ntm-copy", "control", outputs=OUTPUTS) as session:
        for row in rows:
            await session.step(row)
    after = [(await client.statistics()).committed_step_count for client in clients]
    moved = sum(after) - sum(before)
    return [] if moved == len(rows) else [f"{len(rows)} steps moved the counters by {moved}"]

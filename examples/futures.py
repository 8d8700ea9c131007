"""Fork a session to try two futures from the same moment, and keep the one that you like.

    python examples/futures.py

A Neural Turing Machine is shown four rows of bits. Then its session is forked: one future asks for the rows back at
once, the other one shows it two rows more and asks then. Neither sees the other's tape.
"""

from __future__ import annotations

import numpy as np
from own_server import serving

import tapehead

BITS = 8
MODEL = "ntm-copy"
DELIMITER = np.eye(BITS + 1, dtype=np.float32)[BITS]  # what follows is recall


def main() -> None:
    rows = np.zeros((6, BITS + 1), np.float32)
    rows[:, :BITS] = np.random.default_rng(3).integers(0, 2, (6, BITS))
    with serving() as server, tapehead.connect(server) as client:
        with client.session(MODEL, keep_every=1) as session:
            session.chunk(rows[:4])
            here = session.session_id
        fork = client.sessions.fork(here).session_id

        with client.session(session_id=here, create=False) as now:
            wrong = recall(now, rows[:4])
            print(f"asked at once:          4 rows, {wrong} wrong bits, {now!r}")
        with client.session(session_id=fork, create=False) as later:
            later.chunk(rows[4:])
            wrong = recall(later, rows)
            print(f"shown two rows more:    6 rows, {wrong} wrong bits, {later!r}")
        for session_id in (here, fork):
            client.sessions.delete(session_id)


def recall(session: tapehead.Session, rows: np.ndarray) -> int:
    """Asks for rows back; returns the number of wrong bits."""
    session.step(DELIMITER)
    given = session.chunk(np.zeros_like(rows)).output
    return int(np.count_nonzero((given > 0.5) != (rows[:, :BITS] > 0.5)))


if __name__ == "__main__":
    main()

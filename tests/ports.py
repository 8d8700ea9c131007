"""Ports for servers that are started again where they were, and for those that are told theirs."""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Iterator

FIRST, LAST = 20_000, 32_700  # below what Linux (from 32768) and others (from 49152) hand out by themselves


def _own_ports() -> Iterator[int]:
    """Every port of this process, for ever: workers of one run of the tests share none."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports = range(FIRST + worker, LAST, workers)
    begin = random.randrange(len(ports))  # another run on this machine begins elsewhere
    return itertools.cycle((*ports[begin:], *ports[:begin]))


_ports = _own_ports()


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens, and which stays free while its server is down.

    A port that the system hands out (port 0) may meanwhile go to anybody else, who asked for any.
    """
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable: the ports go round")


def free_address() -> str:
    """HOST:PORT with such a port."""
    return f"127.0.0.1:{free_port()}"

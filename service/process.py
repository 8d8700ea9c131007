"""The life of the process around one server: signals, what it says, and its exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from .greeting import first_lines, print_tables
from .server import CannotStart, Server
from .settings import Settings

OK, FAILED = 0, 1  # exit codes
GARBAGE_THRESHOLDS = 20_000, 20, 50  # allocations until the youngest is searched, and searches until the next older


def run(settings: Settings) -> int:
    """Serves until a signal comes; returns the exit code."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(serve(settings))


async def serve(settings: Settings) -> int:
    """Serves until a signal comes; the first one drains, a second one ends the process at once."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stopping, number)
    server = Server(settings)
    starting = asyncio.ensure_future(server.start())
    stopped = asyncio.ensure_future(stopping.wait())
    failed = asyncio.ensure_future(server.failed.wait())
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
        return OK
    try:
        starting.result()
    except CannotStart as error:
        print(f"tapehead: {error}", file=sys.stderr)
        return FAILED
    spare_garbage_searches()
    is_announced = _announce(server)
    if is_announced:
        await asyncio.wait({stopped, failed}, return_when=asyncio.FIRST_COMPLETED)
    await server.stop()
    return FAILED if server.failed.is_set() or not is_announced else OK


def spare_garbage_searches() -> None:
    """Lets the collector pass over what was loaded, which stays, and come less often: a step leaves no cycles behind.

    At Python's own thresholds it took a sixth of the time of a step.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    gc.enable()


def _announce(server: Server) -> bool:
    """Says what is served and, last, that it is; False if those who wait for that cannot be told."""
    settings, addresses, models = server.settings, server.addresses, server.repository.models()
    broken, store = server.repository.broken, server.store
    print_tables(Console(), models, broken, store.location, store.durability, settings)
    print(first_lines(addresses, models))
    if settings.ready_file is not None:
        try:
            _write_whole(settings.ready_file, addresses.as_json())
        except OSError as error:
            expected = f"--ready-file: expected a file that can be written, got {settings.ready_file}"
            print(f"tapehead: {expected}: {error.strerror}", file=sys.stderr)
            return False
    print(addresses.ready_line(), flush=True)
    return True


def _on_signal(stopping: asyncio.Event, number: int) -> None:
    if stopping.is_set():
        os._exit(128 + number)  # what was answered is committed; there is nothing else to save
    stopping.set()


def _write_whole(path: Path, text: str) -> None:
    """Writes a file so that nobody ever reads a part of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not to be had on every platform; the standard loop does the same, slower
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory

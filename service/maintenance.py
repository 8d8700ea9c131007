"""`python -m service store ...`: what an operator does with a store beside serving from it."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from .errors import TapeheadError
from .settings import InvalidSettings, Settings, read_settings
from .store.lmdb import LmdbStore
from .store.lmdb_copy import Unsuitable, compact, copy, require_empty, require_store
from .store.redis import RedisStore
from .store.transfer import Keyed, Tally, move, new_incarnation, same_incarnation, verify
from .store.volume import durability_of

OK, FAILED, MISUSED = 0, 1, 2  # exit codes

_HELP = {
    "verify": "read every row and compare every checksum",
    "backup": "write a copy to FOLDER, also while servers use the store, and verify it",
    "restore": "fill an empty store from the backup in FOLDER; every session gets a new incarnation",
    "compact": "give unused pages of an LMDB store back to the disk",
    "migrate": "move all sessions to the empty store TARGET, and verify them there; no server may run meanwhile",
}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m service store", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in _HELP.items():
        command = commands.add_parser(name, help=what, description=what)
        if name in ("backup", "restore"):
            command.add_argument("folder", type=Path, metavar="FOLDER")
        if name == "migrate":
            command.add_argument("target", metavar="TARGET")
        command.add_argument("--store", help="as for the service; TAPEHEAD_STORE, or its default, if not given")
    options = parser.parse_args(list(arguments))
    try:
        settings = _settings(options.store)
        target = _settings(options.target) if options.command == "migrate" else settings
    except InvalidSettings as error:
        print(f"tapehead: {error}", file=sys.stderr)
        return MISUSED
    try:
        return asyncio.run(_carry_out(options.command, settings, target, getattr(options, "folder", None)))
    except TapeheadError as error:
        print(f"tapehead: {error.message}", file=sys.stderr)
        return FAILED


async def _carry_out(command: str, settings: Settings, target: Settings, folder: Path | None) -> int:
    match command:
        case "verify":
            async with _opened(settings) as store:
                return _told(await verify(store), f"read at {store.location}")
        case "backup":
            assert folder is not None
            return _told(await _backup(settings, folder), f"copied to {folder}")
        case "restore":
            assert folder is not None
            async with _opened_folder(folder) as backup, _opened(settings, is_new=True) as store:
                return _told(await move(backup, store, new_incarnation), f"restored at {store.location}")
        case "migrate":
            async with _opened(settings) as store, _opened(target, is_new=True) as other:
                return _told(await move(store, other, same_incarnation), f"moved to {other.location}")
        case _:
            if settings.store_folder is None:
                raise Unsuitable("expected an LMDB store; Redis compacts its own log (BGREWRITEAOF)")
            before, after = compact(settings.store_folder)
            print(f"{settings.store_folder}: {before} bytes before, {after} after")
            return OK


async def _backup(settings: Settings, folder: Path) -> Tally:
    """A backup is a folder that is an LMDB store."""
    if settings.store_folder is not None:
        copy(settings.store_folder, folder)
        async with _opened_folder(folder) as backup:
            return await verify(backup)
    require_empty(folder)
    async with _opened(settings) as store, _opened_folder(folder, is_new=True) as backup:
        return await move(store, backup, same_incarnation)


def _settings(store: str | None) -> Settings:
    return read_settings(["--store", store] if store else [])


@asynccontextmanager
async def _opened(settings: Settings, *, is_new: bool = False) -> AsyncIterator[Keyed]:
    if settings.store_folder is not None:
        async with _opened_folder(settings.store_folder, settings, is_new=is_new) as opened:
            yield opened
        return
    if settings.store_url is None:
        raise Unsuitable("expected an LMDB store or a Redis; a store in memory is gone with its server")
    store = await RedisStore.at(settings.store_url, settings.asked_durability, settings.asserted_durability)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def _opened_folder(
    folder: Path, settings: Settings | None = None, *, is_new: bool = False
) -> AsyncIterator[LmdbStore]:
    if not is_new:
        require_store(folder)
    asked = settings.asked_durability if settings else None
    store = LmdbStore.at(folder, asked or durability_of(folder))
    try:
        yield store
    finally:
        await store.close()


def _told(tally: Tally, what: str) -> int:
    for key, damage in tally.damaged.items():
        print(f"owner '{key.owner}', session '{key.session_id}': {damage}", file=sys.stderr)
    print(f"{tally} {what}" + (f"; {len(tally.damaged)} damaged" if tally.damaged else ""))
    return FAILED if tally.damaged else OK

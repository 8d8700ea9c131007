"""Copies of an LMDB store as files: while a server uses it, and in its own place without the unused pages."""

from __future__ import annotations

import os
from pathlib import Path

import lmdb

from ..errors import StoreUnavailable, TapeheadError
from .volume import Hold

_MAP_SIZE = 64 << 30  # bytes; address space to read in


class Unsuitable(TapeheadError):
    """The folder is not what the command needs."""


def require_store(folder: Path) -> None:
    """Raises Unsuitable unless a store lies there."""
    if not (folder / "data.mdb").is_file():
        raise Unsuitable(f"expected a store in {folder}, found no data.mdb there")


def require_empty(folder: Path) -> None:
    """Raises Unsuitable unless the folder is empty, or not there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Unsuitable(f"expected an empty folder, or none, at {folder}")


def copy(folder: Path, target: Path) -> int:
    """Writes the store as of one moment, without unused pages, to an empty folder, or one not there; its bytes.

    A server may use the store meanwhile. Raises Unsuitable, StoreUnavailable; leaves nothing behind then.
    """
    require_store(folder)
    require_empty(target)
    try:
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Unsuitable(f"{target}: {error.strerror}") from error
    try:
        with lmdb.open(str(folder), map_size=_MAP_SIZE, readonly=True, max_dbs=16) as environment:
            # Into a file of our own making: LMDB would let everybody on the machine read its copy.
            handle = os.open(target / "data.mdb", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                environment.copyfd(handle, compact=True)
                os.fsync(handle)
            finally:
                os.close(handle)
        _sync(target)
    except (lmdb.Error, OSError) as error:
        (target / "data.mdb").unlink(missing_ok=True)
        raise StoreUnavailable(f"the copy to {target} failed: {error}") from error
    return (target / "data.mdb").stat().st_size


def compact(folder: Path) -> tuple[int, int]:
    """Puts a copy without unused pages in the place of the store's file. Its size before and after, in bytes.

    Raises StoreHeld if a server uses it. Killed at any instant, the old file or the new one is there, whole.
    """
    require_store(folder)
    hold = Hold(folder)
    try:
        before, draft = (folder / "data.mdb").stat().st_size, folder / "compacted"
        if draft.is_dir():  # of an attempt that was killed
            for file in draft.iterdir():
                file.unlink()
        after = copy(folder, draft)
        (draft / "data.mdb").replace(folder / "data.mdb")
        _sync(folder)
        draft.rmdir()
    finally:
        hold.release()
    return before, after


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

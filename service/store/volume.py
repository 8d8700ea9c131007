"""The volume under an embedded store: who holds it, what it can promise, how much of it is left."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from ..errors import TapeheadError
from .base import Durability

_VOLATILE = {"tmpfs", "ramfs", "devtmpfs", "zram"}
_REMOTE = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ceph",
    "glusterfs",
    "lustre",
    "afs",
    "beegfs",
    "gpfs",
    "ocfs2",
    "gfs2",
}
_MOUNTS = Path("/proc/self/mounts")


class StoreHeld(TapeheadError):
    """Another process, or another store of this one, has the folder open."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(
            f"the store at {path} is held by {holder}; one server process may use it at a time",
            path=path,
            holder=holder,
        )


class DurabilityRefused(TapeheadError):
    """The volume cannot honour the durability that was asked for."""

    def __init__(self, path: Path, durability: Durability, file_system: str, best: Durability) -> None:
        asked, had = durability.name.lower(), best.name.lower()
        super().__init__(
            f"durability '{asked}' is not to be had at {path}: a {file_system} file system gives '{had}' at most; "
            f"choose another folder, or ask for '{had}'",
            path=path,
            file_system=file_system,
            expected=asked,
            got=had,
        )


def durability_of(path: Path) -> Durability:
    """The strongest level that a store in this folder, which need not exist yet, can honour."""
    return _durability_on(file_system_of(path))


def require_durability(path: Path, durability: Durability) -> None:
    """Raises DurabilityRefused if a store in this folder cannot honour the level."""
    file_system = file_system_of(path)
    if durability > (best := _durability_on(file_system)):
        raise DurabilityRefused(path, durability, file_system, best)


def _durability_on(file_system: str) -> Durability:
    # A remote file system keeps what a killed process wrote, but when it reaches a disk is the other machine's affair.
    name = file_system.removeprefix("fuse.")
    return Durability.PROCESS if name in _VOLATILE | _REMOTE or name == "sshfs" else Durability.DISK


def file_system_of(path: Path, mounts: Path = _MOUNTS) -> str:
    """The kind of file system that holds the path, as the kernel names it; "unknown" where there is no such list."""
    path = path.resolve()
    best, kind = Path(), "unknown"
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return kind
    for line in lines:
        _, escaped, name, *_ = line.split()
        mount = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), escaped))
        if path.is_relative_to(mount) and len(mount.parts) >= len(best.parts):  # of two on one place the later shows
            best, kind = mount, name
    return kind


def free_bytes(path: Path) -> int:
    """What is left on the volume for a process without privileges."""
    return shutil.disk_usage(path).free


class Hold:
    """The right to use a folder, for one process at a time; the kernel gives it back when the process dies."""

    def __init__(self, folder: Path) -> None:
        """Raises StoreHeld, which says who has it."""
        self._file = os.open(folder / "holder", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 200, 0).decode(errors="replace").strip()
            os.close(self._file)
            raise StoreHeld(folder, holder or "another process") from None
        since = datetime.now(UTC).isoformat(timespec="seconds")
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"process {os.getpid()} since {since}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._file)  # the file stays: to remove it would race with the next holder

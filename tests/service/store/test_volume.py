"""A store knows who holds its folder and what its volume can promise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.store.base import Durability
from service.store.volume import (
    DurabilityRefused,
    Hold,
    StoreHeld,
    durability_of,
    file_system_of,
    free_bytes,
    require_durability,
)

MOUNTS = """\
/dev/root / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
server:/export /srv/with\\040space nfs4 rw 0 0
/dev/sdb /run/disk xfs rw 0 0
tmpfs /run/disk tmpfs rw 0 0
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    file = tmp_path / "mounts"
    file.write_text(MOUNTS)
    return file


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/x", "ext4"),
        ("/run/store", "tmpfs"),
        ("/running", "ext4"),
        ("/srv/with space/a/b", "nfs4"),
        ("/run/disk/store", "tmpfs"),  # mounted over the disk
    ],
)
def test_the_nearest_mount_holds_a_path(path: str, kind: str, mounts: Path) -> None:
    assert file_system_of(Path(path), mounts) == kind


def test_without_a_list_of_mounts_the_file_system_is_unknown(tmp_path: Path) -> None:
    assert file_system_of(tmp_path, tmp_path / "none") == "unknown"


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        ("ext4", Durability.DISK),
        ("unknown", Durability.DISK),
        ("overlay", Durability.DISK),
        ("tmpfs", Durability.PROCESS),
        ("nfs4", Durability.PROCESS),
        ("fuse.sshfs", Durability.PROCESS),
    ],
)
def test_memory_and_remote_file_systems_do_not_survive_a_loss_of_power(
    kind: str, level: Durability, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.volume.file_system_of", lambda path: kind)

    assert durability_of(tmp_path) is level
    require_durability(tmp_path, level)
    if level < Durability.DISK:
        with pytest.raises(DurabilityRefused, match=f"'disk' is not to be had .* {kind} .* 'process' at most"):
            require_durability(tmp_path, Durability.DISK)


def test_a_folder_is_held_once_and_the_second_learns_by_whom(tmp_path: Path) -> None:
    hold = Hold(tmp_path)

    with pytest.raises(StoreHeld, match=rf"process {os.getpid()} since \d{{4}}-"):
        Hold(tmp_path)
    hold.release()
    Hold(tmp_path).release()


def test_there_is_some_space(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) > 0

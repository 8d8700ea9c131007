"""The files of a bundle: where they may lie, and that they are what the manifest says."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from tapehead.bundle.errors import BundleError
from tapehead.bundle.limits import MAX_FILE_BYTES
from tapehead.v1.manifest_pb2 import BundleFile, Manifest

MANIFEST_NAME = "manifest.json"


def check_path(path: str) -> None:
    """Refuses a path that could name anything but a plain file below the bundle's folder."""
    parts = PurePosixPath(path).parts
    if not path or "\\" in path or "\0" in path or ":" in path or path != "/".join(parts):
        raise BundleError(f"file {path!r}: expected a relative path with '/' between its parts")
    if path.startswith("/") or ".." in parts or "." in parts:
        raise BundleError(f"file {path!r}: expected a path within the bundle, got one that leaves it")
    if path == MANIFEST_NAME:
        raise BundleError(f"file {path!r}: the manifest cannot list itself")


def locate(folder: Path, path: str) -> Path:
    """Returns where `path` lies, refusing what a link would lead out of `folder`."""
    check_path(path)
    place = folder / path
    try:
        inside = place.resolve(strict=True).is_relative_to(folder.resolve(strict=True))
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise BundleError(f"{place}: listed in the manifest but not there") from error
    if not inside:
        raise BundleError(f"{place}: a link that leads out of the bundle")
    if not place.is_file():
        raise BundleError(f"{place}: expected a plain file")
    return place


def describe_file(path: str, data: bytes) -> BundleFile:
    """Returns the manifest's line about a file."""
    return BundleFile(path=path, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def find_file(manifest: Manifest, path: str) -> BundleFile | None:
    return next((file for file in manifest.files if file.path == path), None)


def read_file(folder: Path, manifest: Manifest, path: str) -> bytes:
    """Reads a listed file and checks its size and hash; what is returned is what was checked."""
    listed = find_file(manifest, path)
    if listed is None:
        raise BundleError(f"{folder / path}: not listed in the manifest's files")
    return _read_checked(folder, listed)


def check_files(folder: Path, manifest: Manifest) -> None:
    """Checks every listed file's place, size and hash."""
    for listed in manifest.files:
        _read_checked(folder, listed)


def _read_checked(folder: Path, listed: BundleFile) -> bytes:
    place = locate(folder, listed.path)
    size = place.stat().st_size
    if size > MAX_FILE_BYTES:
        raise BundleError(f"{place}: at most {MAX_FILE_BYTES} bytes, got {size}")
    if size != listed.size:
        raise BundleError(f"{place}: expected {listed.size} bytes as the manifest says, got {size}")
    data = place.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != listed.sha256.lower():
        raise BundleError(f"{place}: expected sha256 {listed.sha256} as the manifest says, got {digest}")
    return data

"""What can be known before the start: named checks, each with one sentence.

They run at every start, where a failure ends it, and by `python -m service check`, which tells them all.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .certificates import InvalidCertificate
from .errors import TapeheadError
from .sessions.owners import InvalidTokens, read_tokens
from .settings import Settings, split_address
from .store.base import Durability
from .store.lmdb import RESERVE
from .store.redis_url import location_of
from .store.volume import Hold, durability_of, file_system_of, free_bytes, require_durability

LOW_SPACE = 1 << 30  # bytes
SPARE_FILES = 256  # descriptors besides those of connections

Outcome = Literal["ok", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    check: str
    outcome: Outcome
    sentence: str


def check_models(settings: Settings) -> Finding:
    for file in settings.model:
        if not file.is_file():
            return Finding("models", "failure", f"--model: expected an ONNX file, got {file}, which is none")
    if settings.models_folder is None:
        return Finding("models", "ok", f"{len(settings.model)} ONNX file(s) and no folder of bundles")
    folder = settings.models_folder.absolute()
    if not folder.is_dir():
        return Finding("models", "failure", f"--models: expected a folder of bundles, got {folder}, which is none")
    count = sum(1 for _ in folder.glob("*/*/manifest.json"))
    if not count:
        return Finding(
            "models", "failure", f"--models: expected MODEL_ID/VERSION/manifest.json in {folder}, found none there"
        )
    return Finding("models", "ok", f"{folder} holds {count} bundle(s)")


def check_durability(settings: Settings) -> Finding:
    asked, folder = settings.asked_durability, settings.store_folder
    if settings.store_url is not None:
        return _check_redis(settings, settings.store_url)
    if folder is None:
        if asked in (None, Durability.MEMORY):
            return Finding("durability", "ok", "sessions live in memory and end with the process")
        return Finding(
            "durability", "failure", f"--durability: expected memory for the store memory:, got {settings.durability}"
        )
    if asked is Durability.MEMORY:
        return Finding("durability", "failure", "--durability: expected process or disk for an LMDB store, got memory")
    try:
        require_durability(folder, asked or Durability.PROCESS)
    except TapeheadError as error:
        return Finding("durability", "failure", error.message)
    best, system = durability_of(folder), file_system_of(folder)
    given = (asked or best).name.lower()
    if asked is None and best < Durability.DISK:
        return Finding("durability", "warning", f"'{given}': a {system} file system gives no more, at {folder}")
    return Finding("durability", "ok", f"'{given}' on {system}, at {folder}")


def _check_redis(settings: Settings, url: str) -> Finding:
    from .store.redis import durability_at  # takes long to import, and not everyone has a Redis

    try:
        level = durability_at(
            url, settings.asked_durability, settings.asserted_durability, settings.redis_reply_seconds
        )
    except TapeheadError as error:
        return Finding("durability", "failure", error.message)
    return Finding("durability", "ok", f"'{level.name.lower()}' at {location_of(url)}")


def check_space(settings: Settings) -> Finding:
    if settings.store_folder is None:
        return Finding("space", "ok", "the store needs no disk")
    place = _nearest(settings.store_folder)
    free = free_bytes(place)
    sentence = f"{free / (1 << 30):.1f} GiB are free at {place}"
    if free < RESERVE:
        return Finding("space", "failure", f"{sentence}; commits need a reserve of {RESERVE >> 20} MiB")
    return Finding("space", "ok" if free >= LOW_SPACE else "warning", sentence)


def check_store(settings: Settings) -> Finding:
    folder = settings.store_folder
    if folder is None:
        return Finding("store", "ok", "in Redis" if settings.store_url else "in memory")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        Hold(folder).release()
    except TapeheadError as error:
        return Finding("store", "failure", error.message)
    except OSError as error:
        return Finding(
            "store", "failure", f"--store: expected a folder that can be written, got {folder}: {error.strerror}"
        )
    return Finding("store", "ok", f"{folder} is free to use")


def check_ports(settings: Settings) -> Finding:
    for flag, address in (("--address", settings.address), ("--metrics-address", settings.metrics_address)):
        reason = _why_not_bound(*split_address(address))
        if reason:
            return Finding("ports", "failure", f"{flag}: {address} cannot be had: {reason}")
    return Finding("ports", "ok", f"{settings.address} and {settings.metrics_address} are free")


def check_ready_file(settings: Settings) -> Finding:
    path = settings.ready_file
    if path is None:
        return Finding("ready file", "ok", "none is asked for")
    got = ""
    if path.is_dir():
        got = f"{path}, which is a folder"
    elif not path.parent.is_dir():
        got = f"{path}, whose folder does not exist"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        got = f"{path}, whose folder may not be written"
    if got:
        return Finding("ready file", "failure", f"--ready-file: expected a file that can be written, got {got}")
    return Finding("ready file", "ok", f"{path} can be written")


def check_tokens(settings: Settings) -> Finding:
    path = settings.tokens
    if path is None:
        return Finding("tokens", "ok", "nobody is asked for a token")
    try:
        registry = read_tokens(path)
    except InvalidTokens as error:
        return Finding("tokens", "failure", f"--tokens: {error}")
    if path.stat().st_mode & 0o077:
        return Finding("tokens", "warning", f"other users of this machine can read {path}")
    return Finding("tokens", "ok", f"{path} names {len(registry.callers)} token(s) and certificate(s)")


def check_certificates(settings: Settings) -> Finding:
    files = settings.tls_files
    if files is None:
        return Finding("tls", "ok", "nothing is encrypted")
    try:
        files.read()
    except InvalidCertificate as error:
        return Finding("tls", "failure", f"--tls-certificate: {error}")
    who = "and clients have to show theirs" if files.client_ca else "clients show none"
    return Finding("tls", "ok", f"{files.certificate} and its key fit, {who}")


def check_files(settings: Settings) -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < SPARE_FILES + settings.max_streams:
        return Finding(
            "files",
            "warning",
            f"{soft} open files are allowed (ulimit -n): too few for --max-streams on as many connections",
        )
    return Finding(
        "files", "ok", f"{'any number of' if soft == resource.RLIM_INFINITY else soft} open files are allowed"
    )


CHECKS: tuple[Callable[[Settings], Finding], ...] = (
    check_models,
    check_durability,
    check_space,
    check_store,
    check_ports,
    check_ready_file,
    check_tokens,
    check_certificates,
    check_files,
)


def findings(settings: Settings) -> Iterator[Finding]:
    """Runs every check, in order."""
    for check in CHECKS:
        yield check(settings)


def _nearest(path: Path) -> Path:
    """Returns the nearest folder that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


def _why_not_bound(host: str, port: int) -> str:
    """Tries to bind and lets go at once; returns the reason if it cannot be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            trial.listen(1)  # only this finds another listener where both may reuse the address
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""

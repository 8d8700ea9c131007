"""Each check finds what it looks for, and says it in one sentence."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from service import preflight
from service.preflight import CHECKS, Finding, findings
from service.settings import Settings
from service.store.volume import Hold
from tests.ports import free_port
from tests.redis_process import RedisProcess


def settings(tmp_path: Path, **changes: object) -> Settings:
    (tmp_path / "models" / "m" / "1").mkdir(parents=True, exist_ok=True)
    (tmp_path / "models" / "m" / "1" / "manifest.json").touch()
    given = {
        "models": tmp_path / "models",
        "store": f"lmdb:{tmp_path / 'store'}",
        "address": "127.0.0.1:0",
        "metrics_address": "127.0.0.1:0",
        "max_streams": 1,
    }
    return Settings(**(given | changes))  # type: ignore[arg-type]


def failure(given: Settings) -> Finding:
    failures = [finding for finding in findings(given) if finding.outcome == "failure"]
    assert len(failures) == 1, failures
    assert "\n" not in failures[0].sentence
    return failures[0]


@pytest.mark.parametrize("store", ["lmdb", "memory:"])
def test_a_good_start_has_no_failure(tmp_path: Path, store: str) -> None:
    given = settings(tmp_path) if store == "lmdb" else settings(tmp_path, store=store)
    found = list(findings(given))

    assert len(found) == len(CHECKS)
    assert [finding for finding in found if finding.outcome == "failure"] == []


def test_a_missing_folder_of_models_is_named(tmp_path: Path) -> None:
    found = failure(settings(tmp_path, models=tmp_path / "nowhere"))

    assert found.check == "models"
    assert str(tmp_path / "nowhere") in found.sentence


def test_a_folder_without_bundles_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert "MODEL_ID/VERSION/manifest.json" in failure(settings(tmp_path, models=tmp_path / "empty")).sentence


@pytest.mark.parametrize("flag", ["address", "metrics_address"])
def test_a_port_in_use_is_named_by_its_flag(tmp_path: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        found = failure(settings(tmp_path, **{flag: address}))

    assert found.sentence == f"--{flag.replace('_', '-')}: {address} cannot be had: address already in use"


def test_a_store_that_is_held_says_by_whom(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    hold = Hold(tmp_path / "store")
    found = failure(settings(tmp_path))
    hold.release()

    assert found.check == "store"
    assert "held by process" in found.sentence


def test_a_store_under_a_file_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = failure(settings(tmp_path, store=f"lmdb:{tmp_path / 'file' / 'store'}"))

    assert found.check == "store"


@pytest.mark.parametrize(("store", "durability"), [("memory:", "disk"), ("memory:", "process"), ("lmdb", "memory")])
def test_a_durability_that_its_store_does_not_have_is_refused(tmp_path: Path, store: str, durability: str) -> None:
    given = settings(tmp_path, durability=durability, **({} if store == "lmdb" else {"store": store}))

    assert failure(given).check == "durability"


def test_a_file_system_in_memory_is_asked_for_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.volume.file_system_of", lambda _: "tmpfs")

    assert "tmpfs" in failure(settings(tmp_path, durability="disk")).sentence
    assert preflight.check_durability(settings(tmp_path)).outcome == "warning"
    assert preflight.check_durability(settings(tmp_path, durability="process")).outcome == "ok"


@pytest.mark.parametrize("name", ["nowhere/ready", "models", "models/m/1/manifest.json/ready"])
def test_a_ready_file_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    found = failure(settings(tmp_path, ready_file=tmp_path / name))

    assert found.check == "ready file"
    assert found.sentence.startswith("--ready-file: expected a file that can be written, got ")
    assert str(tmp_path / name) in found.sentence
    assert preflight.check_ready_file(settings(tmp_path, ready_file=tmp_path / "ready")).outcome == "ok"


def test_a_full_disk_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "free_bytes", lambda _: 1 << 20)

    assert failure(settings(tmp_path)).check == "space"


def test_a_redis_that_promises_nothing_keeps_the_server_from_starting(tmp_path: Path) -> None:
    with RedisProcess(tmp_path / "redis", "--appendfsync", "everysec") as redis:
        found = failure(settings(tmp_path, store=redis.url))
        assert found.check == "durability"
        assert "CONFIG SET appendfsync always" in found.sentence

        redis.say("CONFIG", "SET", "appendfsync", "always")
        outcomes = {finding.check: finding for finding in findings(settings(tmp_path, store=redis.url))}
        assert outcomes["durability"].sentence == f"'disk' at {redis.url}"


def test_a_redis_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    found = failure(settings(tmp_path, store=f"redis://:secret@127.0.0.1:{free_port()}/0"))

    assert "127.0.0.1" in found.sentence
    assert "secret" not in found.sentence

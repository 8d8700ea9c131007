"""Settings from flags, environment and file, and what is said of bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.settings import InvalidSettings, default_store, is_loopback, read_settings, split_address
from service.store.base import Durability


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine that runs the tests has set."""
    for name in ("ADDRESS", "METRICS_ADDRESS", "MODELS", "STORE", "DURABILITY", "INSECURE", "MAX_STREAMS", "CONFIG"):
        monkeypatch.delenv(f"TAPEHEAD_{name}", raising=False)


def complaint(*arguments: str) -> str:
    with pytest.raises(InvalidSettings) as caught:
        read_settings(arguments)
    return str(caught.value)


def test_defaults_are_private_and_durable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    settings = read_settings()

    assert (settings.address, settings.metrics_address) == ("127.0.0.1:8001", "127.0.0.1:8002")
    assert settings.store_folder == tmp_path / "tapehead" / "sessions"
    assert settings.asked_durability is None
    assert settings.models == Path("models")
    assert settings.drain_seconds == 25


def test_the_store_lies_in_the_state_directory_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")

    assert default_store() == "lmdb:/home/somebody/.local/state/tapehead/sessions"


def test_a_flag_beats_the_environment_which_beats_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "tapehead.toml"
    file.write_text('max_streams = 1\nmax_batch = 2\nmodels = "m"\n', encoding="utf-8")
    monkeypatch.setenv("TAPEHEAD_MAX_STREAMS", "3")
    monkeypatch.setenv("TAPEHEAD_MAX_BATCH", "4")
    settings = read_settings(["--max-streams", "5", "--config", str(file)])

    assert (settings.max_streams, settings.max_batch, settings.models) == (5, 4, Path("m"))


def test_the_file_may_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "tapehead.toml"
    file.write_text("max_streams = 7\n", encoding="utf-8")
    monkeypatch.setenv("TAPEHEAD_CONFIG", str(file))

    assert read_settings().max_streams == 7


@pytest.mark.parametrize("word", ["memory", "process", "disk"])
def test_durability_is_a_word(word: str) -> None:
    assert read_settings(["--durability", word]).asked_durability == Durability[word.upper()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-streams", "0"], "--max-streams: expected a whole number above 0, got '0'"),
        (["--max-streams", "many"], "--max-streams: expected a whole number above 0, got 'many'"),
        (["--max-streams", "1.5"], "--max-streams: expected a whole number above 0, got '1.5'"),
        (["--max-batch", "5000"], "--max-batch: expected a whole number above 0 and at most 4096, got '5000'"),
        (["--map-bytes", "1"], "--map-bytes: expected a whole number of at least 1048576, got '1'"),
        (["--ttl", "0"], "--ttl: expected a number of at least 1 and at most 31622400, got '0'"),
        (["--heartbeat", "x"], "--heartbeat: expected a number above 0, got 'x'"),
        (["--log-level", "loud"], "--log-level: expected one of debug, info, warning, error, got 'loud'"),
        (["--address", "nowhere"], "--address: expected HOST:PORT, got 'nowhere'"),
        (["--address", "127.0.0.1:99999"], "--address: expected HOST:PORT"),
        (["--store", "mysql://x"], "--store: expected lmdb:FOLDER, redis://HOST:PORT/DB"),
        (["--store", "lmdb:"], "--store: expected lmdb:FOLDER"),
        (["--store", "redis://x:99999"], "--store: expected redis://HOST:PORT/DB"),
        (["--store", "redis://h/zero"], "--store: expected the number of a database"),
        (["--redis-reply-seconds", "0"], "--redis-reply-seconds: expected a number above 0, got '0'"),
        (["--durability", "eternal"], "--durability: expected one of memory, process, disk, got 'eternal'"),
        (["--config", "/no/such/file"], "--config: expected a file, got /no/such/file"),
        (["--no-such-flag", "1"], "unrecognized arguments: --no-such-flag"),
        (["--address", "0.0.0.0:8001"], "needs --insecure"),
        (["--metrics-address", "[::]:8002"], "needs --insecure"),
    ],
)
def test_a_bad_value_is_one_sentence_about_it(arguments: list[str], said: str) -> None:
    text = complaint(*arguments)

    assert said in text
    assert "\n" not in text


def test_a_bad_environment_is_named_by_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEHEAD_MAX_STREAMS", "x")

    assert complaint() == "--max-streams: expected a whole number above 0, got 'x'"
    monkeypatch.setenv("TAPEHEAD_MAX_STREAMS", "1")
    monkeypatch.setenv("TAPEHEAD_INSECURE", "maybe")
    assert complaint() == "--insecure: expected true or false, got 'maybe'"


@pytest.mark.parametrize(
    ("content", "said"), [("colour = 1", "'colour' that does not exist"), ("= 1", "expected TOML")]
)
def test_a_bad_file_says_what_is_wrong(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "tapehead.toml"
    file.write_text(content, encoding="utf-8")

    assert said in complaint("--config", str(file))


def test_other_addresses_may_be_had_by_those_who_say_so() -> None:
    assert read_settings(["--address", "0.0.0.0:1", "--insecure"]).insecure


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings(["--help"])
    text = capsys.readouterr().out

    assert caught.value.code == 0
    assert all(name in text for name in ("--address", "--ready-file", "--drain-seconds", "--config", "TAPEHEAD_"))


def test_what_is_shown_has_every_setting_as_text() -> None:
    shown = read_settings(["--max-streams", "9"]).shown()

    assert shown["max_streams"] == "9"
    assert set(shown) == set(type(read_settings()).model_fields)


@pytest.mark.parametrize(
    ("address", "parts"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:80", ("::1", 80)), ("localhost:1", ("localhost", 1))],
)
def test_addresses_split_into_host_and_port(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts
    assert is_loopback(parts[0])


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("redis://ada:se@cret@host:6379/2", "redis://***@host:6379/2"),
        ("rediss://:secret@host", "rediss://***@host"),
        ("unix:///run/redis.sock?password=secret", "unix:///run/redis.sock"),
        ("redis://host:1/0", "redis://host:1/0"),
        ("lmdb:/a@b", "lmdb:/a@b"),
    ],
)
def test_a_password_of_the_store_is_not_shown(store: str, shown: str) -> None:
    settings = read_settings(["--store", store])

    assert settings.shown()["store"] == shown
    assert settings.store == store


def test_a_password_is_not_repeated_by_a_complaint_about_it() -> None:
    text = complaint("--store", "redis://:secret@host:port/0")

    assert "secret" not in text
    assert "redis://***@host:port/0" in text

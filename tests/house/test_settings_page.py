"""The page about operations tells of every setting, and the container's settings are ones that the service takes."""

import re
from pathlib import Path

import pytest

from service.settings import Settings, flag, read_settings

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| `(--[a-z-]+)` \| `(TAPEHEAD_[A-Z_]+)` \| (.+?) \|", (ROOT / "docs/operations.md").read_text(), re.M
)


def test_every_setting_is_on_the_page_under_its_names() -> None:
    told = {(name, variable) for name, variable, _ in ROWS}

    assert told == {(flag(name), f"TAPEHEAD_{name.upper()}") for name in Settings.model_fields}


def test_numbers_on_the_page_are_the_defaults() -> None:
    fields = {flag(name): field.default for name, field in Settings.model_fields.items()}
    numbers = {name: text.strip("`") for name, _, text in ROWS if re.fullmatch(r"`[\d.]+`", text)}

    assert len(numbers) > 5
    assert {name: float(text) for name, text in numbers.items()} == {name: fields[name] for name in numbers}


def test_the_container_is_set_in_words_that_the_service_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    values = dict(re.findall(r"(TAPEHEAD_[A-Z_]+)=(\S+)", (ROOT / "Dockerfile").read_text()))
    for name, value in values.items():
        monkeypatch.setenv(name, value)

    settings = read_settings()

    assert {name.removeprefix("TAPEHEAD_").lower() for name in values} <= set(Settings.model_fields)
    assert settings.address == values["TAPEHEAD_ADDRESS"]
    assert settings.store == values["TAPEHEAD_STORE"]


def test_the_containers_grace_is_longer_than_the_drain() -> None:
    """Otherwise the engine kills a service that is still answering."""
    grace = re.search(r"stop_grace_period: (\d+)s", (ROOT / "docker-compose.yml").read_text())
    assert grace

    assert float(grace[1]) > Settings.model_fields["drain_seconds"].default

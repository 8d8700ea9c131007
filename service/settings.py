"""Every knob, with its unit and its reason.

A flag beats the environment, which beats the file named by `--config` (TOML, the same names with underscores).
"""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from .certificates import TlsFiles
from .store.base import Durability
from .store.redis_url import EXPECTED, SCHEMES, check_url, without_secrets
from .versions import VersionPolicy

PREFIX = "TAPEHEAD_"
DAY = 86_400.0  # seconds
LAST_PORT = 65_535


class InvalidSettings(ValueError):
    """The settings cannot be used; the message is one sentence that names the setting, what was expected and given."""


def state_folder() -> Path:
    """Returns where this user's programs keep what they go on from."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "tapehead"


def default_store() -> str:
    """Returns the store of a user who named none."""
    return f"lmdb:{state_folder() / 'sessions'}"


class Settings(BaseSettings):
    """Serves neural networks that remember.

    Each flag can also be given as TAPEHEAD_<NAME> in the environment, or as <name> in a TOML file that --config FILE
    names; a flag beats the environment, which beats the file. Instead of starting, `python -m service check [FLAGS]`
    says what would keep a start from succeeding, and `python -m service store` backs up, verifies, restores, compacts
    or moves what is stored.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, cli_hide_none_type=True)

    # --- where ---

    address: str = Field("127.0.0.1:8001", description="where gRPC listens, HOST:PORT; port 0 picks a free one")
    metrics_address: str = Field("127.0.0.1:8002", description="where metrics and health listen, HOST:PORT")
    insecure: bool = Field(
        False, description="listen where others can reach it, although callers or what they say are not protected"
    )
    tokens: Path | None = Field(
        None, description="a file of tokens, owners, roles and quotas; read again when it changes"
    )
    tls_certificate: Path | None = Field(
        None, description="the server's certificate with its chain, in PEM; read again when it changes"
    )
    tls_key: Path | None = Field(None, description="the key of that certificate, in PEM, not encrypted")
    tls_client_ca: Path | None = Field(
        None, description="who signs for clients, in PEM: every client then has to show a certificate, which names it"
    )
    models: Path = Field(Path("models"), description="the folder of bundles")
    model: list[Path] = Field(
        default_factory=list,
        description="an ONNX file to serve, of which a bundle is made; may be repeated; beside the folder of bundles "
        "only where that is named too",
    )
    model_versions: str = Field(
        "all",
        description="which versions are offered to new sessions: all or latest:N, then MODEL=VERSION,VERSION for each "
        "pinned model; sessions keep theirs",
    )
    reload_seconds: float = Field(
        5.0, ge=0, description="seconds between looks for new, changed and removed bundles; 0 for none"
    )
    store: str = Field(
        default_factory=default_store,
        description="where sessions are kept: lmdb:FOLDER, redis://HOST:PORT/DB, rediss://HOST:PORT/DB, unix://PATH or "
        "memory:; lmdb: in the user's state directory if unset",
    )
    redis_durability: Literal["process", "disk"] | None = Field(
        None, description="what a Redis that does not let its configuration be read is known to honour"
    )
    redis_reply_seconds: float = Field(
        5.0, gt=0, description="seconds without a reply after which Redis counts as lost, and outcomes as unknown"
    )
    durability: Literal["memory", "process", "disk"] | None = Field(
        None,
        description="what a committed step survives: nothing, kill -9, or the loss of power; the strongest if unset",
    )
    ready_file: Path | None = Field(
        None, description="a file that gets both addresses as JSON once the server is ready"
    )

    # --- how much ---

    max_streams: int = Field(10_000, gt=0, description="streams at once")
    max_calls: int = Field(4096, gt=0, description="unary calls at once")
    max_live_sessions: int = Field(20_000, gt=0, description="sessions in memory; the others rest in the store")
    max_waiting_steps: int = Field(8192, gt=0, description="steps and questions accepted and not yet answered")
    max_batch: int = Field(128, gt=0, le=4096, description="sessions in one run of a model")
    max_message_bytes: int = Field(4 << 20, ge=1024, le=1 << 30, description="bytes of a request")
    max_import_bytes: int = Field(64 << 20, ge=1024, le=1 << 30, description="bytes of a session that is imported")
    max_story_sentences: int = Field(1000, gt=0, description="sentences of a story, or of one Tell")
    max_text_bytes: int = Field(4096, gt=0, description="bytes of a sentence or a question")
    map_bytes: int = Field(
        64 << 30, ge=1 << 20, description="the most that an LMDB store may hold; address space, not disk"
    )

    # --- how much for each owner; 0 is no bound, and the tokens file may say otherwise for one ---

    quota_sessions: int = Field(0, ge=0, description="sessions of an owner; 0 is no bound")
    quota_state_bytes: int = Field(
        0, ge=0, description="bytes of an owner's states, with those that its sessions may keep; 0 is no bound"
    )
    quota_streams: int = Field(0, ge=0, description="streams of an owner at once; 0 is no bound")
    quota_waiting_steps: int = Field(0, ge=0, description="an owner's accepted steps and questions; 0 is no bound")

    # --- how long ---

    ttl: float = Field(
        30 * DAY, ge=1, le=366 * DAY, description="seconds that an unused session lives, unless it asks for others"
    )
    heartbeat: float = Field(
        10.0, gt=0, description="seconds of silence on a stream before a sign of life; proxies cut silent ones"
    )
    drain_seconds: float = Field(
        25.0, ge=0, description="seconds for ending what was begun; less than what Kubernetes allows"
    )

    # --- what other protocols' users expect ---

    oip_start: Literal["restart", "refuse"] = Field(
        "restart",
        description="what a START does to a sequence that runs: begins it anew and keeps the old one, or fails",
    )

    # --- what is told ---

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="the least that is logged")
    log_format: Literal["console", "json"] = Field("console", description="for people or for programs")

    @field_validator("address", "metrics_address")
    @classmethod
    def _is_address(cls, value: str) -> str:
        split_address(value)
        return value

    @field_validator("model_versions")
    @classmethod
    def _is_policy(cls, value: str) -> str:
        VersionPolicy.parse(value)
        return value

    @model_validator(mode="after")
    def _has_whole_certificates(self) -> Settings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_certificate"
            raise ValueError(f"--tls-certificate and --tls-key: expected both or neither, {flag(missing)} is missing")
        if self.tls_client_ca is not None and self.tls_key is None:
            raise ValueError("--tls-client-ca: expected --tls-certificate and --tls-key beside it")
        return self

    @field_validator("store")
    @classmethod
    def _is_store(cls, value: str) -> str:
        if value == "memory:" or (value.startswith("lmdb:") and value != "lmdb:"):
            return value
        if value.partition(":")[0] not in SCHEMES:
            raise ValueError(f"expected lmdb:FOLDER, {EXPECTED}, or memory:")
        check_url(value)
        return value

    @model_validator(mode="after")
    def _is_private_unless_allowed(self) -> Settings:
        missing = []
        if self.tokens is None and self.tls_client_ca is None:
            missing.append("nobody is asked who they are (--tokens or --tls-client-ca)")
        if self.tls_key is None:
            missing.append("nothing is encrypted, tokens included (--tls-certificate, --tls-key)")
        for name in ("address", "metrics_address"):
            host, _ = split_address(getattr(self, name))
            if missing and not self.insecure and not is_loopback(host):
                raise ValueError(
                    f"{flag(name)}: expected an address of this machine alone, such as 127.0.0.1, got {host}; "
                    f"{' and '.join(missing)}, so listening elsewhere needs --insecure"
                )
        return self

    @property
    def tls_files(self) -> TlsFiles | None:
        """The files of TLS; None where nothing is encrypted."""
        if self.tls_certificate is None or self.tls_key is None:
            return None
        return TlsFiles(self.tls_certificate, self.tls_key, self.tls_client_ca)

    @property
    def models_folder(self) -> Path | None:
        """The folder of bundles; None where ONNX files were named and no folder was."""
        return self.models if "models" in self.model_fields_set or not self.model else None

    @property
    def store_folder(self) -> Path | None:
        """Where an LMDB store lies; None for one in memory."""
        kind, _, place = self.store.partition(":")
        return Path(place).expanduser().absolute() if kind == "lmdb" else None

    @property
    def store_url(self) -> str | None:
        """Where a Redis is, with its password if it has one; None for other stores."""
        return self.store if self.store.partition(":")[0] in SCHEMES else None

    @property
    def asserted_durability(self) -> Durability | None:
        """What to believe of a Redis that hides its configuration."""
        return Durability[self.redis_durability.upper()] if self.redis_durability else None

    @property
    def asked_durability(self) -> Durability | None:
        """The durability asked for; None for the strongest."""
        return Durability[self.durability.upper()] if self.durability else None

    def shown(self) -> dict[str, str]:
        """Returns every setting as text, without what is secret in it."""
        shown = {name: _text(getattr(self, name)) for name in type(self).model_fields}
        return {**shown, "store": without_secrets(self.store)}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)  # flags come before all of them


def read_settings(arguments: Sequence[str] = ()) -> Settings:
    """Returns the settings of flags, environment and file. Raises InvalidSettings; exits after `--help`."""
    file, rest = _split_config(arguments)

    class FromFile(Settings):
        __doc__ = Settings.__doc__
        model_config = SettingsConfigDict(toml_file=file)

    try:
        return FromFile(
            _cli_parse_args=list(rest),  # type: ignore[call-arg]  # pydantic-settings' own, not a field
            _cli_prog_name="python -m service",
            _cli_kebab_case=True,
            _cli_implicit_flags=True,
            _cli_exit_on_error=False,
        )
    except ValidationError as error:
        raise InvalidSettings(_sentence(error)) from None
    except SettingsError as error:
        raise InvalidSettings(str(error).removeprefix("error parsing CLI: ")) from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"{file}: expected TOML: {error}") from None


def split_address(address: str) -> tuple[str, int]:
    """Returns host and port of `HOST:PORT`, where an IPv6 host stands in brackets. Raises ValueError."""
    host, separator, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdigit() or int(port) > LAST_PORT:
        raise ValueError("expected HOST:PORT")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Tells whether nobody but this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def flag(name: str) -> str:
    """Returns how a setting is written on the command line."""
    return "--" + name.replace("_", "-")


def _split_config(arguments: Sequence[str]) -> tuple[Path | None, Sequence[str]]:
    """Takes `--config FILE` out of the arguments; the file has to be known before anything is read."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config", type=Path, default=os.environ.get(PREFIX + "CONFIG"))
    try:
        known, rest = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise InvalidSettings(str(error)) from None
    file = None if known.config is None else Path(known.config)
    if file is not None and not file.is_file():
        raise InvalidSettings(f"--config: expected a file, got {file}")
    return file, rest


def _sentence(error: ValidationError) -> str:
    """Returns the first error as one sentence."""
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return f"the settings file has a setting '{name}' that does not exist"
    if not message.startswith("expected"):
        message = f"expected {_expected(name)}"
    got = without_secrets(str(first["input"])) if name == "store" else first["input"]
    return f"{flag(name)}: {message}, got {got!r}"


def _expected(name: str) -> str:
    """Returns what a setting may be, in words."""
    field = Settings.model_fields.get(name)
    if field is None or name in _EXPECTED:
        return _EXPECTED.get(name, "another value")
    words = [option for option in get_args(field.annotation) + _literals(field.annotation) if isinstance(option, str)]
    if words:
        return f"one of {', '.join(dict.fromkeys(words))}"
    bounds = {type(bound).__name__: getattr(bound, type(bound).__name__.lower(), None) for bound in field.metadata}
    said = [f"{words} {bounds[kind]:.15g}" for kind, words in _BOUNDS.items() if kind in bounds]
    return f"{_KINDS.get(field.annotation, 'another value')} {' and '.join(said)}".strip()


def _literals(annotation: object) -> tuple[object, ...]:
    return tuple(word for part in get_args(annotation) for word in get_args(part))


_EXPECTED = {"store": f"lmdb:FOLDER, {EXPECTED}, or memory:"}
_KINDS: dict[object, str] = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
_BOUNDS = {"Gt": "above", "Ge": "of at least", "Le": "at most"}


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)

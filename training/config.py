"""Configurations: TOML files whose every option has a type, a default or a clear complaint."""

from __future__ import annotations

import json
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from .errors import TrainingError

Options = TypeVar("Options")


@dataclass(frozen=True)
class Config:
    """One experiment, resolved. The tables are read by the family that `family` names, with `read_table`."""

    name: str  # the run's and the model's name
    family: str  # which module of training.tasks builds it
    updates: int  # how many updates the run has
    task: dict[str, Any]
    network: dict[str, Any]
    recipe: dict[str, Any]
    seed: int = 1
    evaluate_every: int = 250  # updates between two validations; each also writes the checkpoint
    average: float = 0.0  # decay of the averaged weights that are validated and kept; 0: the last weights
    where: str = "config"  # the file, for messages; not an option
    device: str = "cpu"  # or cuda; where a run computes is no part of what it is, so it is not kept

    def table(self) -> dict[str, Any]:
        """The options as they are written to and read from TOML."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("where", "device")}


def load_config(path: Path, overrides: Sequence[str] = (), seed: int | None = None) -> Config:
    """Reads a configuration and applies `key=value` overrides; raises TrainingError naming file, option and type."""
    if not path.is_file():
        raise TrainingError(f"{path}: no such configuration file")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"{path}: not valid TOML: {error}") from None
    for override in overrides:
        _override(table, override)
    if seed is not None:
        table["seed"] = seed
    config = read_table(Config, {**{"task": {}, "network": {}, "recipe": {}}, **table, "where": str(path)}, str(path))
    for option, least in (("updates", 1), ("evaluate_every", 1), ("seed", 0)):
        if getattr(config, option) < least:
            raise TrainingError(f"{path}: {option}: expected at least {least}, got {getattr(config, option)}")
    if not 0 <= config.average < 1:
        raise TrainingError(f"{path}: average: expected a decay in [0, 1), got {config.average}")
    return config


def _override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise TrainingError(f"--set {override}: expected key=value, for example recipe.learning_rate=0.001")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *tables, option = key.strip().split(".")
    for name in tables:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise TrainingError(f"--set {override}: {name} is an option, not a table of options")
    table[option] = value


def read_table(options: type[Options], table: Mapping[str, Any], where: str) -> Options:
    """Makes a dataclass of a table, checking every option's name and type; `where` begins every message."""
    known = {f.name: f for f in fields(options)}  # type: ignore[arg-type]
    if unknown := [name for name in table if name not in known]:
        expected = ", ".join(name for name in known if name != "where")
        raise TrainingError(f"{where}: unknown option {unknown[0]!r}; expected one of: {expected}")
    hints = typing.get_type_hints(options)
    values: dict[str, Any] = {}
    for name, option in known.items():
        if name in table:
            values[name] = _checked(table[name], hints[name], f"{where}: {name}")
        elif option.default is MISSING and option.default_factory is MISSING:
            raise TrainingError(f"{where}: option {name!r} is missing; expected {_type_name(hints[name])}")
    return options(**values)


def _checked(value: Any, hint: Any, where: str) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for kind in kinds:
        origin = typing.get_origin(kind) or kind
        if origin is float and type(value) is int:
            return float(value)
        if origin is tuple and isinstance(value, list | tuple):
            element = typing.get_args(kind)[0]
            return tuple(_checked(item, element, f"{where}[{i}]") for i, item in enumerate(value))
        if isinstance(value, origin) and (origin is bool or not isinstance(value, bool)):
            return value
    raise TrainingError(f"{where}: expected {_type_name(hint)}, got {value!r}")


def _type_name(hint: Any) -> str:
    names = {
        "int": "a whole number",
        "float": "a number",
        "str": "a string",
        "bool": "true or false",
        "dict": "a table",
    }
    origin = typing.get_origin(hint) or hint
    return names.get(getattr(origin, "__name__", ""), str(hint).replace("tuple", "a list of "))


def write_toml(table: Mapping[str, Any]) -> str:
    """Writes options and tables of options as TOML (JSON's strings, numbers, booleans and lists are TOML's too)."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in table.items() if not isinstance(value, dict)]
    for name, inner in table.items():
        if isinstance(inner, dict):
            lines += ["", f"[{name}]", write_toml(inner).rstrip("\n")]
    return "\n".join(lines) + "\n"

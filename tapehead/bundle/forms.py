"""A manifest as people write it: TOML or JSON, with the fields of the message under their names."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tapehead.bundle.errors import BundleError
from tapehead.v1.manifest_pb2 import Manifest


def to_toml(manifest: Manifest) -> str:
    """Returns the manifest as TOML; files and probes, which are found when a bundle is written, are left out."""
    import tomli_w  # here alone: whoever only serves bundles writes no TOML

    plain = plain_fields(manifest)
    for name in ("files", "probes"):
        plain.pop(name, None)
    return tomli_w.dumps(plain)


def read_form(place: Path) -> Manifest:
    """Reads a manifest from a `.toml` file, or from any other as JSON; raises BundleError. Checks no rules of it."""
    try:
        text = place.read_text(encoding="utf-8")
        plain = tomllib.loads(text) if place.suffix == ".toml" else json.loads(text)
        return json_format.ParseDict(plain, Manifest())
    except OSError as error:
        raise BundleError(f"{place}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, ValueError, json_format.ParseError) as error:
        raise BundleError(f"{place}: expected a manifest in TOML (.toml) or JSON: {error}") from error


def plain_fields(message: Message) -> dict[str, Any]:
    """Returns a message as dicts, lists, texts and numbers; enums by name, and long integers as integers."""
    return {field.name: _plain(field, value) for field, value in message.ListFields()}


def _plain(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(value)
    if isinstance(value, list | tuple) or hasattr(value, "extend"):
        return [_one(field, item) for item in value]
    return _one(field, value)


def _one(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, Message):
        return plain_fields(value)
    return field.enum_type.values_by_number[value].name if field.enum_type is not None else value

"""Where a Redis is, as it is written in a setting, and as it may be shown."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

SCHEMES = ("redis", "rediss", "unix")
EXPECTED = "redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix://PATH"
PORT = 6379


def check_url(url: str) -> None:
    """Raises ValueError unless this can name a Redis; the message does not repeat it, for it may hold a password."""
    try:
        parts = urlsplit(url)
        port, database = parts.port, parts.path.strip("/")
    except ValueError as error:
        raise ValueError(f"expected {EXPECTED}: {error}") from None
    is_place = parts.path if parts.scheme == "unix" else parts.hostname and (port is None or port > 0)
    if parts.scheme not in SCHEMES or not is_place:
        raise ValueError(f"expected {EXPECTED}")
    if parts.scheme != "unix" and database and not database.isdigit():
        raise ValueError("expected the number of a database after the port of Redis")


def location_of(url: str) -> str:
    """The address without name, password and options."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix://{unquote(parts.path)}"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return urlunsplit((parts.scheme, f"{host}:{parts.port or PORT}", f"/{parts.path.strip('/') or 0}", "", ""))


def without_secrets(text: str) -> str:
    """A store as it was written, but for what stands before the host, and for options."""
    if text.partition(":")[0] not in SCHEMES:
        return text
    return re.sub(r"\?.*", "", re.sub(r"//.*@", "//***@", text), flags=re.DOTALL)

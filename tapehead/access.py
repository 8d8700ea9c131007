"""Who a client says it is, and whom it believes: tokens, which may rotate in a file, and the files of TLS."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Access:
    """How a client gets in. What is None is taken from the environment, variable by variable.

    TAPEHEAD_TOKEN, TAPEHEAD_TOKEN_FILE, TAPEHEAD_TLS (1), TAPEHEAD_TLS_CA, TAPEHEAD_TLS_CERT, TAPEHEAD_TLS_KEY,
    TAPEHEAD_INSECURE_TOKEN (1).
    """

    token: str | None = None
    token_file: str | os.PathLike[str] | None = None  # holds nothing but a token; read again when it changes
    tls: bool | None = None  # implied by any of the files below
    tls_ca: str | os.PathLike[str] | None = None  # who signs for the server; else those that everybody believes
    tls_cert: str | os.PathLike[str] | None = None  # the client's own, with its key
    tls_key: str | os.PathLike[str] | None = None
    insecure_token: bool | None = None  # a token may go unencrypted to another machine
    _seen: tuple[int, int, int] | None = field(default=None, init=False)
    _read: str | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.token is None and self.token_file is None:  # what is said here counts for both
            self.token = os.environ.get("TAPEHEAD_TOKEN") or None
            self.token_file = None if self.token else os.environ.get("TAPEHEAD_TOKEN_FILE") or None
        if self.token is not None and self.token_file is not None:
            raise ValueError("token and token_file: expected one of them, got both")
        if self.token is not None:
            _check_token(self.token, "token")
        for name in ("tls_ca", "tls_cert", "tls_key"):
            if getattr(self, name) is None:
                setattr(self, name, os.environ.get(f"TAPEHEAD_{name.upper()}") or None)
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key: expected both or neither")
        if self.tls is None:
            self.tls = _is_set("TAPEHEAD_TLS") or bool(self.tls_ca or self.tls_cert)
        if self.insecure_token is None:
            self.insecure_token = _is_set("TAPEHEAD_INSECURE_TOKEN")

    def current_token(self) -> str | None:
        """The token to send now. Raises ValueError for a file without one, OSError for one that cannot be read."""
        if self.token_file is None:
            return self.token
        found = os.stat(self.token_file)
        stamp = found.st_ino, found.st_size, found.st_mtime_ns
        if stamp != self._seen:
            token = Path(self.token_file).read_text(encoding="utf-8").strip()
            _check_token(token, str(self.token_file))
            self._seen, self._read = stamp, token
        return self._read

    def check_private(self, server: str) -> None:
        """Refuses to send a token unencrypted where others may read it, unless told to. Raises ValueError."""
        if (self.token or self.token_file) and not self.insecure_token and not is_loopback(server):
            raise ValueError(
                f"server: expected an address of this machine alone, such as 127.0.0.1, got {server}; nothing is "
                "encrypted (tls, tls_ca), and whoever reads the token on its way can use it, so sending it needs "
                "insecure_token (--insecure-token, TAPEHEAD_INSECURE_TOKEN)"
            )

    def certificates(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """What TLS needs, in PEM: who signs for the server, this client's key and its certificate. Raises OSError."""
        ca, key, cert = (None if path is None else Path(path).read_bytes() for path in self._paths)
        return ca, key, cert

    @property
    def _paths(self) -> tuple[str | os.PathLike[str] | None, ...]:
        return self.tls_ca, self.tls_key, self.tls_cert


def is_loopback(server: str) -> bool:
    """Tells whether what is said to HOST:PORT stays on this machine."""
    host = server.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or server.startswith("unix:") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "") in ("1", "true")


def _check_token(token: str, name: str) -> None:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"{name}: expected a token of visible ASCII characters, got something else")

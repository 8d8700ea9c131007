"""The files that TLS needs: read, checked, and looked at for changes."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path


class InvalidCertificate(ValueError):
    """A file cannot be used; the message is one sentence that names it."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the certificates lie, all in PEM."""

    certificate: Path  # with its chain, the server's own first
    key: Path
    client_ca: Path | None = None  # whose client certificates are asked for and believed; None asks for none

    def read(self) -> tuple[bytes, bytes, bytes | None]:
        """The key, the certificate and the certificates of those who sign for clients. Raises InvalidCertificate."""
        key, certificate = _pem(self.key), _pem(self.certificate)
        roots = _pem(self.client_ca) if self.client_ca else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password=b"")  # no prompt where a key is encrypted
        except (ssl.SSLError, OSError, ValueError) as error:
            raise InvalidCertificate(
                f"expected a certificate and its key, not encrypted, got {self.certificate} and {self.key}, which do "
                f"not fit together ({getattr(error, 'reason', None) or error})"
            ) from None
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except (ssl.SSLError, OSError):
                raise InvalidCertificate(f"expected certificates in PEM, got {self.client_ca}") from None
        return key, certificate, roots

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """What changes when any of the files does; empty where one is missing."""
        try:
            found = [os.stat(path) for path in (self.certificate, self.key, self.client_ca) if path is not None]
        except OSError:
            return ()
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in found)


def _pem(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidCertificate(f"expected a file in PEM, got {path}: {error.strerror}") from None

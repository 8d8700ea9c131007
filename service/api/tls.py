"""TLS: certificates are read again when their files change, so that new ones need no restart."""

from __future__ import annotations

import logging

import grpc

from ..certificates import InvalidCertificate, TlsFiles

_log = logging.getLogger("tapehead.tls")


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that look at the files before each handshake. Raises InvalidCertificate for what is there now.

    Files that cannot be used later are passed over, and the log says so: what was served before stays.
    """
    seen = files.stamp()
    first = _configuration(files)

    def changed() -> grpc.ServerCertificateConfiguration | None:  # called by a thread of grpc's
        nonlocal seen
        stamp = files.stamp()
        if stamp == seen:
            return None
        seen = stamp
        try:
            configuration = _configuration(files)
        except InvalidCertificate as error:
            _log.error("the certificates stay as they were: %s", error)
            return None
        _log.info("read new certificates from %s", files.certificate)
        return configuration

    # None means that nothing has changed; the stub does not know that.
    return grpc.dynamic_ssl_server_credentials(first, changed, files.client_ca is not None)  # type: ignore[arg-type]


def _configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    key, certificate, roots = files.read()
    return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=roots)

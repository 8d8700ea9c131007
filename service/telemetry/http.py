"""The metrics port: /metrics, /healthz, /readyz and a page with the first lines to try, from a thread of its own.

A thread, so that an event loop that is stuck can still be seen to be stuck.
"""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Thread

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

REQUESTS = 16  # at once; more are turned away
METHODS = ("GET", "HEAD")
BODY_BYTES = 1 << 16  # of a request that should have none; how many are read before it is hung up on
TIMEOUT = 10.0  # seconds in which a client must say what it wants

Page = tuple[HTTPStatus, str, bytes]  # status, content type, body
PLAIN = "text/plain; charset=utf-8"


class MetricsServer:
    """Serves HTTP until it is closed."""

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        is_ready: Callable[[], bool],
        first_page: Callable[[], str],
    ) -> None:
        """Binds the address; 0 picks a free port. Raises OSError if it cannot be had."""
        pages: dict[str, Callable[[str], Page]] = {
            "/metrics": lambda accept: _metrics(registry, accept),
            "/healthz": lambda _: (HTTPStatus.OK, PLAIN, b"ok\n"),
            "/readyz": lambda _: _readiness(is_ready()),
            "/": lambda _: (HTTPStatus.OK, PLAIN, first_page().encode()),
        }
        self._server = _Server(host, port, pages)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.name = "tapehead-metrics"

    @property
    def port(self) -> int:
        port: int = self._server.server_address[1]
        return port

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Answers nothing more."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def _metrics(registry: CollectorRegistry, accept: str) -> Page:
    encode, content_type = choose_encoder(accept)
    return HTTPStatus.OK, content_type, encode(registry)


def _readiness(is_ready: bool) -> Page:
    if is_ready:
        return HTTPStatus.OK, PLAIN, b"ready\n"
    return HTTPStatus.SERVICE_UNAVAILABLE, PLAIN, b"not ready: loading or draining\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, pages: dict[str, Callable[[str], Page]]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.pages = pages
        self._places = BoundedSemaphore(REQUESTS)
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's own looks the host's name up, which may take seconds

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = TIMEOUT
    server_version = "tapehead"
    sys_version = ""

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path.split("?")[0])
        if page is None:
            here = " ".join(self.server.pages)
            self._answer(HTTPStatus.NOT_FOUND, PLAIN, f"here are: {here}\n".encode())
        else:
            self._answer(*page(self.headers.get("Accept", "")))

    do_HEAD = do_GET  # the name is the library's

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Says in a sentence what the library says as a page: what is asked in another way, or cannot be read."""
        self.close_connection = True
        if code != HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus(code)
            return self._answer(status, PLAIN, f"{message or status.phrase}\n".encode())
        sentence = f"expected {' or '.join(METHODS)}, got {self.command}: pages here are only read\n"
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, PLAIN, sentence.encode(), Allow=", ".join(METHODS))
        if self.headers.get("Content-Length", "0") != "0":
            self.rfile.read1(BODY_BYTES)  # closing on unread bytes may take the answer away from the client

    def _answer(self, status: HTTPStatus, kind: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: a scrape every few seconds is no news."""

"""The metrics port."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest
from prometheus_client import CollectorRegistry, Gauge

from service.telemetry.http import REQUESTS, MetricsServer


class Readiness:
    is_ready = False


@pytest.fixture
def readiness() -> Readiness:
    return Readiness()


@pytest.fixture
def address(readiness: Readiness) -> Iterator[str]:
    registry = CollectorRegistry()
    Gauge("answer", "The answer.", registry=registry).set(42)
    server = MetricsServer("127.0.0.1", 0, registry, lambda: readiness.is_ready, lambda: "try this\n")
    server.start()
    yield f"127.0.0.1:{server.port}"
    server.close()


def get(address: str, path: str, **headers: str) -> tuple[int, str, str]:
    request = urllib.request.Request(f"http://{address}{path}", headers=headers)
    try:
        response: HTTPResponse
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.headers["Content-Type"], response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_metrics_are_in_the_format_asked_for(address: str) -> None:
    status, plain, text = get(address, "/metrics")
    _, openmetrics, other = get(address, "/metrics", Accept="application/openmetrics-text; version=1.0.0")

    assert (status, plain.split(";")[0]) == (200, "text/plain")
    assert "answer 42.0" in text
    assert openmetrics.startswith("application/openmetrics-text")
    assert other.endswith("# EOF\n")


def test_it_lives_before_it_is_ready(address: str, readiness: Readiness) -> None:
    before = [get(address, path)[0] for path in ("/healthz", "/readyz")]
    readiness.is_ready = True

    assert before == [200, 503]
    assert [get(address, path)[0] for path in ("/healthz", "/readyz")] == [200, 200]


def test_the_first_page_says_what_to_try_and_the_others_where_to_look(address: str) -> None:
    assert get(address, "/")[2] == "try this\n"
    assert get(address, "/?x=1")[0] == 200
    status, _, text = get(address, "/nothing")
    assert status == 404
    assert "/metrics" in text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "NONSENSE"])
@pytest.mark.parametrize("path", ["/metrics", "/nothing"])
def test_other_methods_are_told_which_there_are(address: str, method: str, path: str) -> None:
    connection = HTTPConnection(address, timeout=10)
    connection.request(method, path, body=b"x" * 1000)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()

    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD"
    assert response.headers["Content-Type"].startswith("text/plain")
    assert text == f"expected GET or HEAD, got {method}: pages here are only read\n"


def test_what_is_no_request_is_answered_in_plain_words(address: str) -> None:
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"GET / HTTP/x\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))

    assert b"Bad request version" in answer
    assert b"<" not in answer


def test_a_crowd_of_silent_clients_is_bounded(address: str) -> None:
    """Places are limited, so that nobody can make the server hold a thread for each of many connections."""
    host, port = address.split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(REQUESTS)]
    with socket.create_connection((host, int(port)), timeout=10) as turned_away:
        assert turned_away.recv(1) == b""
    for each in silent:
        each.close()

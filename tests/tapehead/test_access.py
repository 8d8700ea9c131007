"""Where a client's token and certificates come from."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from tapehead import aio, errors
from tapehead.access import Access
from tests.tapehead.fake_script import Script, Status
from tests.tapehead.fake_server import FakeServer

UNKNOWN = Status(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", "TOKEN_FILE", "TLS", "TLS_CA", "TLS_CERT", "TLS_KEY", "INSECURE_TOKEN"):
        monkeypatch.delenv(f"TAPEHEAD_{name}", raising=False)


def written(folder: Path, token: str) -> Path:
    path = folder / "token"
    path.with_suffix(".new").write_text(token + "\n")
    return path.with_suffix(".new").replace(path)


def test_an_argument_beats_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEHEAD_TOKEN", "from-environment")

    assert Access().current_token() == "from-environment"
    assert Access(token="given").current_token() == "given"
    assert Access(token_file=written(tmp_path, "from-file")).current_token() == "from-file"


def test_the_environment_may_name_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEHEAD_TOKEN_FILE", str(written(tmp_path, "from-file")))

    assert Access().current_token() == "from-file"


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    access = Access(token_file=written(tmp_path, "old"))
    assert access.current_token() == "old"

    written(tmp_path, "new")

    assert access.current_token() == "new"


@pytest.mark.parametrize("token", ["", "two words", "naïve", "a\nb"])
def test_what_cannot_be_a_token_is_refused_without_being_told(token: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a token") as raised:
        Access(token_file=written(tmp_path, token)).current_token()

    assert not token or token not in str(raised.value)


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected one of them"):
        Access(token="a", token_file=tmp_path)
    with pytest.raises(ValueError, match="both or neither"):
        Access(tls_cert=tmp_path)


def test_a_file_of_tls_asks_for_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Access().tls
    assert Access(tls_ca=tmp_path).tls
    assert Access(tls=True).tls
    monkeypatch.setenv("TAPEHEAD_TLS", "1")
    assert Access().tls
    assert not Access(tls=False).tls


@pytest.mark.parametrize("server", ["192.0.2.1:8001", "[2001:db8::1]:8001", "example.org:8001"])
async def test_a_token_is_not_sent_for_others_to_read(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for given in ({"token": "secret"}, {"token_file": written(tmp_path, "secret")}):
        with pytest.raises(ValueError, match=r"got .*:8001; nothing is encrypted .* needs insecure_token"):
            aio.connect(server, **given)
        for allowed in ({"insecure_token": True}, {"tls": True}, {"credentials": grpc.ssl_channel_credentials()}):
            await aio.connect(server, **given, **allowed).close()
    await aio.connect(server).close()  # there is nothing to be read

    monkeypatch.setenv("TAPEHEAD_TOKEN", "secret")
    with pytest.raises(ValueError, match="needs insecure_token"):
        aio.connect(server)
    monkeypatch.setenv("TAPEHEAD_INSECURE_TOKEN", "1")
    await aio.connect(server).close()


@pytest.mark.parametrize("server", ["127.0.0.2:8001", "[::1]:8001", "localhost:8001", "unix:/run/tapehead"])
async def test_a_token_stays_on_this_machine_without_encryption(server: str) -> None:
    await aio.connect(server, token="secret").close()


async def test_a_call_refused_for_its_token_is_made_again_with_a_newer_one(tmp_path: Path, server: FakeServer) -> None:
    """Rotation: the server knows the new token before the client has read it."""
    path = written(tmp_path, "old")
    async with aio.connect(server.address, token_file=path) as client:
        await client.server()
        written(tmp_path, "new")
        client.connection._metadata = _held_back(client, "old")  # the file changes between the call and its refusal
        server.unary_failures.append(UNKNOWN)

        await client.server()

    assert [metadata["authorization"] for metadata in server.metadata] == ["Bearer old", "Bearer old", "Bearer new"]


async def test_a_call_refused_for_the_token_that_it_still_has_is_not_repeated(
    tmp_path: Path, server: FakeServer
) -> None:
    async with aio.connect(server.address, token_file=written(tmp_path, "old")) as client:
        server.unary_failures.append(UNKNOWN)

        with pytest.raises(errors.TokenInvalid):
            await client.server()

    assert len(server.metadata) == 1


async def test_a_session_waits_for_a_token_file_that_is_away_for_a_moment(tmp_path: Path, server: FakeServer) -> None:
    """Whoever rotates tokens removes the file before the new one is there."""
    path = written(tmp_path, "old")
    server.scripts.append(Script(cut_after_answer_to=1))
    async with aio.connect(server.address, token_file=path) as client, client.session("adder") as session:
        path.unlink()
        refused = _refusals(client)
        await session.step([1, 1])
        await refused.wait()
        written(tmp_path, "new")

        assert (await session.step([1, 1])).step == 2

    assert server.metadata[-1]["authorization"] == "Bearer new"


async def test_a_session_without_a_token_says_so_when_patience_ends(tmp_path: Path, server: FakeServer) -> None:
    path = written(tmp_path, "old")
    server.scripts.append(Script(cut_after_answer_to=1))
    client = aio.connect(server.address, token_file=path, reconnect_timeout=0.2)
    async with client, client.session("adder") as session:
        path.unlink()
        await session.step([1, 1])
        with pytest.raises(errors.TokenInvalid, match="the token cannot be read"):
            await session.step([1, 1])


def _refusals(client: aio.Client) -> asyncio.Event:
    """Is set as soon as the token could not be read."""
    real, refused = client.connection._access.current_token, asyncio.Event()

    def current_token() -> str | None:
        try:
            return real()
        except OSError:
            refused.set()
            raise

    client.connection._access = SimpleNamespace(current_token=current_token)  # type: ignore[assignment]
    return refused


def _held_back(client: aio.Client, token: str):
    """Metadata as it was before the change, once."""
    real = client.connection._metadata

    def metadata(session_id: str) -> tuple[tuple[str, str], ...]:
        client.connection._metadata = real
        return (("authorization", f"Bearer {token}"),)

    return metadata

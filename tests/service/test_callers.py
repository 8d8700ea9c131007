"""Whole servers that ask who calls: by tokens, by certificates, over TLS; and clients that say it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tapehead import aio, errors
from tests.bundles import write_accumulator
from tests.service.whole_server import serving

ADA, BOB, OPS, NEW = (f"{name}-token-0123456789" for name in ("ada", "bob", "ops", "new"))
LINES = (f"{ADA} ada client", f"{BOB} bob client", f"{OPS} ops operator")
ROW = [1.0, 2.0, 3.0]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_accumulator(folder)
    return folder


def tokens(folder: Path, *lines: str) -> Path:
    path = folder / "tokens"
    path.with_suffix(".new").write_text("\n".join(lines))
    return path.with_suffix(".new").replace(path)


async def step_until(session: aio.Session, condition: Callable[[], bool]) -> None:
    """The server looks at its tokens once a second; the steps meanwhile are taken."""
    while not condition():
        await session.step(ROW)
        await asyncio.sleep(0.01)


@pytest.fixture
async def address(models: Path, tmp_path: Path) -> AsyncIterator[str]:
    """Of a server that knows ada, bob and the operator."""
    async with serving(models, tokens=tokens(tmp_path, *LINES)) as (_, address):
        yield address


async def test_without_a_known_token_nothing_is_served(address: str) -> None:
    for token in (None, "a-token-that-nobody-knows"):
        async with aio.connect(address, token=token) as client:
            for call in (client.server, client.models.list, client.sessions.list, lambda c=client: c.sessions.get("s")):
                with pytest.raises(errors.TokenInvalid):
                    await call()
            with pytest.raises(errors.TokenInvalid):
                async with client.session("accumulator"):
                    pass


@pytest.mark.parametrize("header", ["", ADA, f"Basic {ADA}", "Bearer", "Bearer  ", f"Bearer {ADA} {ADA}"])
async def test_a_token_is_a_bearer_token_or_none(address: str, header: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary("/tapehead.v1.ServerService/GetServer")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(b"", metadata=(("authorization", header),))
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert await call(b"", metadata=(("authorization", f"bearer {ADA}"),))


async def test_health_is_open_and_reflection_is_not(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        reflection = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await reflection.read()
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_another_owners_session_and_none_look_the_same_to_every_call(address: str) -> None:
    """The same code, text and facts; and neither is looked at any longer: the key alone has another owner."""
    async with aio.connect(address, token=ADA) as ada, aio.connect(address, token=BOB) as bob:
        async with ada.session("accumulator", "mine", keep_every=1) as session:
            await session.step(ROW)
        incarnation = (await ada.sessions.get("mine")).incarnation
        sessions = bob.sessions

        async def stream(session_id: str) -> None:
            async with bob.session(session_id=session_id, create=False):
                pass

        calls: list[Callable[[str], Awaitable[object]]] = [
            sessions.get,
            lambda s: sessions.get(s, incarnation=incarnation),
            sessions.read_state,
            sessions.fork,
            lambda s: sessions.rewind(s, 2, 0, incarnation=incarnation),
            lambda s: bob.step(s, 1, {}, incarnation=incarnation),
            sessions.delete,
            stream,
        ]
        for call in calls:
            heard = []
            for session_id in ("mine", "none"):
                with pytest.raises(errors.SessionNotFound) as raised:
                    await call(session_id)
                heard.append((str(raised.value).replace(session_id, "ID"), raised.value.code, raised.value.reason))
                assert raised.value.metadata == {"session_id": session_id}
            assert heard[0] == heard[1]
        assert await sessions.list() == []
        async with bob.session("accumulator", "mine") as session:  # a name of bob's own
            assert session.next_step == 1
        assert (await ada.sessions.get("mine")).committed_step == 1


async def test_only_an_operator_sees_everybodys_sessions_and_the_statistics(address: str) -> None:
    async with (
        aio.connect(address, token=ADA) as ada,
        aio.connect(address, token=BOB) as bob,
        aio.connect(address, token=OPS) as ops,
    ):
        for client, names in ((ada, "ab"), (bob, "abc")):
            for name in names:
                async with client.session("accumulator", name):
                    pass
        for forbidden in (ada.statistics, lambda: ada.sessions.list(all_owners=True)):
            with pytest.raises(errors.RoleRequired):
                await forbidden()

        everybody = await ops.sessions.list(all_owners=True)
        assert [(info.owner, info.session_id) for info in everybody] == [
            *(("ada", name) for name in "ab"),
            *(("bob", name) for name in "abc"),
        ]
        assert {info.owner for info in await ada.sessions.list()} == {""}
        assert (await ops.statistics()).live_session_count == 5
        assert await ops.sessions.list() == []


async def test_a_token_that_is_taken_out_ends_its_streams(models: Path, tmp_path: Path) -> None:
    async with (
        serving(models, tokens=tokens(tmp_path, *LINES)) as (_, address),
        aio.connect(address, token=ADA) as ada,
        aio.connect(address, token=BOB) as bob,
        ada.session("accumulator", "s") as session,
        bob.session("accumulator", "s") as other,
    ):
        await session.step(ROW)
        tokens(tmp_path, *LINES[1:])

        with pytest.raises(errors.TokenInvalid):
            await step_until(session, lambda: False)
        await other.step(ROW)


async def test_a_client_goes_on_with_the_token_that_its_file_has_now(models: Path, tmp_path: Path) -> None:
    """The client's file changes first, then the server's: the stream is opened again, and no step is lost."""
    mine = tmp_path / "mine"
    mine.write_text(ADA)
    async with (
        serving(models, tokens=tokens(tmp_path, f"{ADA} ada client")) as (_, address),
        aio.connect(address, token_file=mine) as client,
        client.session("accumulator", "s") as session,
    ):
        await session.step(ROW)
        mine.write_text(NEW)
        tokens(tmp_path, f"{NEW} ada client")
        await step_until(session, lambda: session.reconnect_count > 0)
        last = await session.step(ROW)

        assert last.step == session.next_step - 1
        assert (await client.sessions.get("s")).committed_step == last.step


async def test_streams_beyond_the_quota_are_refused_and_an_end_makes_room(models: Path, tmp_path: Path) -> None:
    async with (
        serving(models, tokens=tokens(tmp_path, *LINES, "quota ada streams=1")) as (_, address),
        aio.connect(address, token=ADA) as ada,
        aio.connect(address, token=BOB) as bob,
    ):
        async with ada.session("accumulator", "a"):
            with pytest.raises(errors.QuotaExceeded) as raised:
                async with ada.session("accumulator", "b"):
                    pass
            async with bob.session("accumulator", "a"), bob.session("accumulator", "b"):
                pass
        assert (raised.value.metadata, raised.value.retry_after) == ({"what": "streams", "limit": "1"}, 1.0)
        async with ada.session("accumulator", "b"):
            pass


# --- TLS --------------------------------------------------------------------------------------------------------------


class Certificates:
    """A certificate authority, and the files that it fills."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self._folder = folder
        self.ca = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca))

    def issue(self, name: str, *names: str, common_name: str | None = None) -> tuple[Path, Path]:
        made = self._authority.issue_cert(*names, common_name=common_name)
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())
        return certificate, key


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def test_a_certificate_says_who_calls(models: Path, tmp_path: Path, certificates: Certificates) -> None:
    server_certificate, server_key = certificates.issue("server", "127.0.0.1")
    named = {
        "ada": certificates.issue("ada", "ada@example.org", "second.example.org"),
        "bob": certificates.issue("bob", common_name="bob"),
        "ops": certificates.issue("ops", "ops.example.org"),
    }
    settings = {
        "tls_certificate": server_certificate,
        "tls_key": server_key,
        "tls_client_ca": certificates.ca,
        "tokens": tokens(tmp_path, "cert:ops.example.org ops operator", f"{ADA} ada@example.org client"),
    }
    async with serving(models, **settings) as (_, address):

        def connect(name: str, token: str | None = None) -> aio.Client:
            certificate, key = named[name]
            return aio.connect(
                address, token=token, tls_ca=certificates.ca, tls_cert=certificate, tls_key=key, connect_timeout=30
            )

        async with connect("ada") as ada, connect("bob") as bob, connect("ops") as ops, connect("bob", ADA) as both:
            for client in (ada, bob):
                async with client.session("accumulator", "s"):
                    pass
            assert [info.owner for info in await ops.sessions.list(all_owners=True)] == ["ada@example.org", "bob"]
            with pytest.raises(errors.RoleRequired):
                await bob.statistics()
            await both.sessions.delete("s")  # a token counts before the certificate
            assert await ada.sessions.list() == []
            assert len(await bob.sessions.list()) == 1


async def test_a_stranger_without_a_certificate_does_not_get_in(
    models: Path, tmp_path: Path, certificates: Certificates
) -> None:
    certificate, key = certificates.issue("server", "127.0.0.1")
    others = tmp_path / "others"
    others.mkdir()
    stranger = Certificates(others).issue("stranger", "ada")
    async with serving(models, tls_certificate=certificate, tls_key=key, tls_client_ca=certificates.ca) as (_, address):
        for tls in ({}, {"tls_cert": stranger[0], "tls_key": stranger[1]}):
            async with aio.connect(address, tls_ca=certificates.ca, connect_timeout=0.5, **tls) as client:
                with pytest.raises(errors.ServerUnreachable):
                    await client.sessions.list()


async def test_new_certificates_need_no_restart_and_broken_ones_change_nothing(
    models: Path, tmp_path: Path, certificates: Certificates
) -> None:
    certificate, key = certificates.issue("server", "127.0.0.1")
    others = tmp_path / "others"
    others.mkdir()
    other = Certificates(others)

    async def reaches(ca: Path) -> None:
        async with aio.connect(address, tls_ca=ca, connect_timeout=30) as client:
            await client.server()

    async def does_not_reach(ca: Path) -> None:
        async with aio.connect(address, tls_ca=ca, connect_timeout=0.5) as client:
            with pytest.raises(errors.ServerUnreachable):
                await client.server()

    async with serving(models, tls_certificate=certificate, tls_key=key) as (_, address):
        await reaches(certificates.ca)
        await does_not_reach(other.ca)
        new_certificate, new_key = other.issue("new", "127.0.0.1")
        certificate.write_bytes(new_certificate.read_bytes())  # half of the change: it does not fit the key
        await reaches(certificates.ca)
        key.write_bytes(new_key.read_bytes())
        await reaches(other.ca)
        await does_not_reach(certificates.ca)

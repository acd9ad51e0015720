"""Connections are checked when they are made, kept, lent to the next, and bounded."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core import outbound
from core.errors import OutboundRefused
from core.wire import Limits, Origin, Timeouts, Wire, WireError, wire
from tests.core.wire.servers import Peer, Server, answer, answering, chunked, serving

USUAL = Timeouts()


async def ask(client: Wire, server: Server, timeouts: Timeouts = USUAL) -> bytes:
    response = await client.send("GET", server.origin, "/", headers=(), timeouts=timeouts)
    return await response.read(1000)


# --- The guard ---------------------------------------------------------------------------------


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Lets every name resolve to these addresses; returns what is asked."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[outbound.Address]:
        asked.append(host)
        return [ipaddress.ip_address(address) for address in addresses]

    # uvloop takes no other resolver.
    monkeypatch.setattr(outbound, "_resolve", resolve)
    return asked


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "::1", "::ffff:127.0.0.1", "2130706433", "127.1", "0x7f.1"]
)
async def test_it_reaches_no_private_address(client: Wire, settings: Any, host: str) -> None:
    async with serving(answering(answer(b"ok"))) as server:
        origin = Origin("http", host, server.port)
        settings.OUTBOUND_ALLOW = []
        with pytest.raises(OutboundRefused):
            await client.send("GET", origin, "/", headers=())
        assert server.connections == 0
        settings.OUTBOUND_ALLOW = ["127.0.0.0/8", "::1/128"]
        if host != "::1":
            response = await client.send("GET", origin, "/", headers=())
            assert await response.read(10) == b"ok"


async def test_it_reaches_no_name_that_leads_inwards(
    client: Wire, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolving(monkeypatch, "93.184.216.34", "127.0.0.1")
    async with serving(answering(answer(b"ok"))) as server:
        origin = Origin("http", "inward.example", server.port)
        settings.OUTBOUND_ALLOW = []
        with pytest.raises(OutboundRefused) as refused:
            await client.send("GET", origin, "/", headers=())
        assert server.connections == 0
    assert asked == ["inward.example"]
    assert "inward.example" in refused.value.message


async def test_it_connects_to_what_it_checked_and_tries_the_next(
    client: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolving(monkeypatch, "127.0.0.9", "127.0.0.1")
    async with serving(answering(answer(b"ok"))) as server:
        origin = Origin("http", "two.example", server.port)
        response = await client.send("GET", origin, "/", headers=())
        assert await response.read(10) == b"ok"
        assert server.asked[0].headers["host"] == f"two.example:{server.port}"
    assert asked == ["two.example"]


async def test_a_name_without_an_address_fails_in_connecting(client: Wire) -> None:
    for origin in (Origin("http", "no.such.invalid.", 80), Origin("http", "127.0.0.1", 70_000)):
        with pytest.raises(WireError) as failed:
            await client.send("GET", origin, "/", headers=())
        assert (failed.value.stage, failed.value.is_timeout) == ("connect", False)


async def test_a_closed_port_fails_in_connecting_and_tells_no_address(client: Wire) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        origin = Origin("http", "localhost", bound.getsockname()[1])
        with pytest.raises(WireError) as failed:
            await client.send("GET", origin, "/", headers=())
    assert failed.value.stage == "connect"
    assert "127.0.0.1" not in str(failed.value)
    assert "ECONNREFUSED" in str(failed.value)


# --- Keeping and lending -----------------------------------------------------------------------


async def test_two_hundred_at_once_reuse_their_connections(client: Wire) -> None:
    async with serving(answering(chunked(b"hello", b" world"))) as server:
        for _round in range(3):
            async with asyncio.TaskGroup() as group:
                asking = [group.create_task(ask(client, server)) for _ in range(200)]
            assert {each.result() for each in asking} == {b"hello world"}
        assert server.connections <= 200
    assert client.stats.requests == 600
    assert client.stats.opened == server.connections
    assert client.stats.reused == 600 - client.stats.opened


async def test_no_more_connections_than_the_bound_and_the_longest_wait_is_first() -> None:
    client = Wire(limits=Limits(connections=2))
    at_once, most = 0, 0
    both = asyncio.Event()
    order: list[int] = []

    async def handle(server: Server, peer: Peer) -> None:
        nonlocal at_once, most
        while True:
            await peer.request()
            at_once += 1
            most = max(most, at_once)
            if most == 2:
                both.set()
            await both.wait()
            at_once -= 1
            await peer.send(answer(b"ok"))

    async def number(server: Server, which: int) -> None:
        await ask(client, server)
        order.append(which)

    async with serving(handle) as server:
        async with asyncio.TaskGroup() as group:
            for which in range(20):
                group.create_task(number(server, which))
        assert (server.connections, most) == (2, 2)
        assert sorted(order) == list(range(20))
        assert all(abs(place - which) <= 2 for place, which in enumerate(order))
        await client.close()


async def test_who_waits_too_long_for_a_connection_is_told() -> None:
    client = Wire(limits=Limits(connections=1))

    async def handle(server: Server, peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(chunked(b"hello").removesuffix(b"0\r\n\r\n"))

    async with serving(handle) as server:
        held = await client.send("GET", server.origin, "/", headers=())
        with pytest.raises(WireError) as failed:
            await ask(client, server, Timeouts(connect_s=0.05))
        assert (failed.value.stage, failed.value.is_timeout) == ("connect", True)
        # Its place is free for the next as soon as it is left.
        waiting = asyncio.ensure_future(client.send("GET", server.origin, "/", headers=()))
        cancelled = asyncio.ensure_future(client.send("GET", server.origin, "/", headers=()))
        await asyncio.sleep(0)
        cancelled.cancel()
        await held.aclose()
        response = await waiting
        assert response.status == 200
        await response.aclose()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await client.close()


async def test_a_wait_that_is_given_up_passes_its_connection_on() -> None:
    client = Wire(limits=Limits(connections=1))
    async with serving(answering(answer(b"ok"))) as server:
        (pool,) = (client._pool(server.origin),)
        await ask(client, server)
        held = pool.take_idle()
        assert held is not None
        first, second = (asyncio.ensure_future(ask(client, server)) for _ in range(2))
        await asyncio.sleep(0)
        pool.released(held)
        first.cancel()
        assert await second == b"ok"
        assert server.connections == 1
        await client.close()


async def test_idle_connections_end_after_their_time_and_beyond_their_number() -> None:
    client = Wire(limits=Limits(idle_connections=1, idle_s=0.05))
    async with serving(answering(answer(b"ok"))) as server:
        async with asyncio.TaskGroup() as group:
            for _time in range(3):
                group.create_task(ask(client, server))
        (pool,) = client._pools.values()
        assert len(pool._idle) == 1
        while not pool.is_unused:
            await asyncio.sleep(0.01)
        assert await ask(client, server) == b"ok"
        await client.close()


async def test_a_connection_that_nobody_accepts_is_given_up(client: Wire) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        origin = Origin("https", "127.0.0.1", listening.getsockname()[1])
        with pytest.raises(WireError) as failed:
            # It is connected, but TLS is never spoken.
            await client.send("GET", origin, "/", headers=(), timeouts=Timeouts(connect_s=0.1))
        assert (failed.value.stage, failed.value.is_timeout) == ("connect", True)
        connecting = asyncio.ensure_future(client.send("GET", origin, "/", headers=()))
        await asyncio.sleep(0.05)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting


def test_the_client_of_a_loop_ends_with_it() -> None:
    async def use() -> Wire:
        async with serving(answering(answer(b"ok"))) as server:
            assert await ask(wire(), server) == b"ok"
            assert wire() is wire()
            return wire()

    first, second = asyncio.run(use()), asyncio.run(use())
    assert first is not second
    for each in (first, second):
        assert all(pool.is_unused for pool in each._pools.values())


# --- TLS ---------------------------------------------------------------------------------------


class Authority:
    """A certificate authority of this test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        usage = x509.BasicConstraints(ca=True, path_length=None)
        builder = self._builder(self._name, self._key.public_key())
        self._certificate = builder.add_extension(usage, critical=True).sign(
            self._key, hashes.SHA256()
        )

    def _builder(self, name: x509.Name, key: Any) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
        )

    def server(self, *names: x509.GeneralName) -> ssl.SSLContext:
        """What a server of these names presents."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        builder = self._builder(subject, key.public_key())
        certificate = builder.add_extension(
            x509.SubjectAlternativeName(names), critical=False
        ).sign(self._key, hashes.SHA256())
        file = self._folder / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["h2", "http/1.1"])
        context.load_cert_chain(file)
        return context

    def client(self) -> ssl.SSLContext:
        """The usual context of clients, which trusts this authority as well."""
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        authority = self._certificate.public_bytes(serialization.Encoding.PEM).decode()
        context.load_verify_locations(cadata=authority)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


async def test_it_speaks_tls_and_names_the_host(authority: Authority) -> None:
    names: list[object] = []
    tls = authority.server(x509.DNSName("localhost"), LOOPBACK)
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    client = Wire(secure=authority.client)

    async def handle(server: Server, peer: Peer) -> None:
        spoken = peer.writer.get_extra_info("ssl_object").selected_alpn_protocol()
        while True:
            await peer.request()
            await peer.send(chunked(spoken.encode(), b"x" * 500_000))

    async with serving(handle, tls=tls, host="localhost") as server:
        for _time in range(2):
            response = await client.send("GET", server.origin, "/", headers=())
            assert await response.read(1_000_000) == b"http/1.1" + b"x" * 500_000
        assert server.connections == 1
        await client.close()
    assert names == ["localhost"]


@pytest.mark.parametrize("names", [[x509.DNSName("other.example")], [LOOPBACK]])
async def test_it_trusts_no_certificate_of_another_name(
    authority: Authority, names: list[x509.GeneralName]
) -> None:
    client = Wire(secure=authority.client)
    async with serving(
        answering(answer(b"ok")), tls=authority.server(*names), host="localhost"
    ) as server:
        with pytest.raises(WireError) as failed:
            await ask(client, server)
        assert server.asked == []
    assert failed.value.stage == "connect"
    assert "certificate" in str(failed.value)
    await client.close()


async def test_it_trusts_nobody_by_itself(authority: Authority, client: Wire) -> None:
    tls = authority.server(x509.DNSName("localhost"))
    async with serving(answering(answer(b"ok")), tls=tls, host="localhost") as server:
        with pytest.raises(WireError) as failed:
            await ask(client, server)
        assert server.asked == []
    assert "certificate" in str(failed.value)


async def test_a_server_that_speaks_no_tls_is_refused(client: Wire) -> None:
    async def handle(server: Server, peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(answer(b"what?", status="400 Bad Request"))
        await peer.until_closed()

    async with serving(handle) as server:
        origin = Origin("https", "127.0.0.1", server.port)
        with pytest.raises(WireError) as failed:
            await client.send("GET", origin, "/", headers=())
    assert failed.value.stage == "connect"

"""DTLS on the UDP ports of the server."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress
from typing import Any

import pytest
from server_harness import Address, ask_udp, mapped, needs_linux, request, run, udp_client, until

from fasticePy import stun
from fasticePy.server import Certificate, ServerLimits, StunServer, self_signed_certificate

SSL = pytest.importorskip("OpenSSL.SSL", reason="DTLS needs pyOpenSSL")
dtls = pytest.importorskip("fasticePy.server.dtls", reason="DTLS needs pyOpenSSL")

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the test's clients read their sockets in ways that Windows' loop cannot"
)


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return self_signed_certificate()


class Client:
    """The client's end in memory, on a UDP socket that the test reads and writes datagram by datagram."""

    def __init__(self, server: Address, *, host: str = "127.0.0.1", alpn: tuple[bytes, ...] = ()) -> None:
        context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
        context.set_options(SSL.OP_NO_QUERY_MTU)
        if alpn:
            context.set_alpn_protos(list(alpn))
        self.server = server
        self.sock = udp_client(host)
        self.begin(context)

    def begin(self, context: Any = None) -> None:
        """A new association from the same port."""
        self.context = context or self.context
        self.tls = SSL.Connection(self.context, None)
        self.tls.set_connect_state()
        self.tls.set_ciphertext_mtu(1200)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def written(self) -> bytes:
        return dtls.read_all(self.tls)

    def step(self) -> bytes:
        """Go on with the handshake as far as it goes; what is to be sent."""
        with suppress(SSL.WantReadError):
            self.tls.do_handshake()
        return self.written()

    def send(self, data: bytes) -> None:
        self.sock.sendto(data, self.server)

    async def receive(self) -> bytes:
        loop = asyncio.get_running_loop()
        readable = loop.create_future()
        loop.add_reader(self.sock, lambda: readable.done() or readable.set_result(None))
        try:
            await readable
        finally:
            loop.remove_reader(self.sock)
        return self.sock.recv(65536)

    async def handshake(self) -> list[int]:
        """Shake hands; the sizes of the server's datagrams."""
        sizes = []
        while True:
            data = self.step()
            if data:
                self.send(data)
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                answer = await self.receive()
                sizes.append(len(answer))
                self.tls.bio_write(answer)
            else:
                return sizes

    async def ask(self, data: bytes) -> bytes:
        self.tls.send(data)
        self.send(self.written())
        return await self.answer()

    async def answer(self) -> bytes:
        while True:
            self.tls.bio_write(await self.receive())
            with suppress(SSL.WantReadError):
                return self.tls.recv(65536)


# -- answers


def test_dtls_and_plain_stun_share_a_port(certificate: Certificate) -> None:
    """7350-1: one port for STUN and DTLS by the first byte. 8489-23: the source address as seen."""

    async def main() -> None:
        async with StunServer(certificate=certificate, dtls=True) as server:
            assert server.dtls_addresses == server.udp_addresses
            with Client(server.dtls_addresses[0]) as client, udp_client() as plain:
                await client.handshake()
                for _ in range(3):
                    assert mapped(await client.ask(request())) == client.sock.getsockname()
                data, _ = await ask_udp(plain, request(), server.udp_addresses[0])
                assert mapped(data) == plain.getsockname()
                assert server.connections == 1
        assert server.counters["dtls associations"] == 1
        assert server.counters["answered"] == 4

    run(main)


@needs_linux
def test_on_a_wildcard_address(certificate: Certificate) -> None:
    """8489-24: associations at two of our addresses, from one port of the client."""

    async def main() -> None:
        async with StunServer(["0.0.0.0:0"], tcp=False, certificate=certificate, dtls=True) as server:
            port = server.dtls_addresses[0][1]
            with Client(("127.0.0.2", port)) as client:
                await client.handshake()
                assert mapped(await client.ask(request())) == client.sock.getsockname()
                client.server = ("127.0.0.3", port)
                client.begin()
                await client.handshake()
                assert mapped(await client.ask(request())) == client.sock.getsockname()
                assert server.connections == 2

    run(main)


def test_a_port_for_dtls_takes_nothing_else(certificate: Certificate) -> None:
    async def main() -> None:
        options: dict[str, Any] = {"certificate": certificate, "dtls": True, "tcp": False}
        async with StunServer([], tls_listen=["127.0.0.1:0"], **options) as server:
            assert server.udp_addresses == server.tls_addresses == ()
            with Client(server.dtls_addresses[0]) as client:
                client.send(request())
                await client.handshake()
                assert mapped(await client.ask(request()))
            assert server.counters["datagram without dtls on a port for dtls"] == 1
            assert server.counters["answered"] == 1

    run(main)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((), b""),
        ((b"stun.turn",), b"stun.turn"),
        ((b"h2", b"stun.nat-discovery"), b"stun.nat-discovery"),
        ((b"h2",), b""),
    ],
)
def test_alpn_is_accepted_and_not_missed(
    certificate: Certificate, offered: tuple[bytes, ...], chosen: bytes
) -> None:
    """7350-1: the ids of RFC 7443, and none of them."""

    async def main() -> None:
        async with StunServer(certificate=certificate, dtls=True) as server:
            with Client(server.dtls_addresses[0], alpn=offered) as client:
                await client.handshake()
                assert client.tls.get_alpn_proto_negotiated() == chosen
                assert mapped(await client.ask(request()))

    run(main)


def test_the_suites_and_versions(certificate: Certificate) -> None:
    """8489-16: DTLS 1.2 with ephemeral keys, the suites of the RFC among them."""
    names = set(SSL.Connection(dtls.server_context(certificate), None).get_cipher_list())
    assert {"ECDHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"} <= names
    assert all(name.startswith(("TLS_", "ECDHE-", "DHE-")) for name in names)


def test_classic_requests_are_refused_over_dtls(certificate: Certificate) -> None:
    """8489-57: a request without the cookie gets 500, an indication nothing."""

    async def main() -> None:
        async with StunServer(certificate=certificate, dtls=True) as server:
            with Client(server.dtls_addresses[0]) as client:
                await client.handshake()
                client.tls.send(b"\x00\x11\0\0" + bytes(16))
                client.send(client.written())
                data = await client.ask(b"\x00\x01\0\0" + bytes(range(16)))
                assert data[:2] == b"\x01\x11"
                assert data[4:20] == bytes(range(16))
                message = stun.parse(data[:4] + stun.MAGIC_COOKIE.to_bytes(4, "big") + data[8:])
                assert message.get(stun.Attribute.ERROR_CODE) == (500, "")
            assert server.counters["indication"] == 1

    run(main)


def test_the_flight_of_the_server_fits_any_path(certificate: Certificate) -> None:
    """7350-1: no datagram of the handshake is longer than 1200 bytes, however many certificates there are."""

    async def main() -> None:
        long = Certificate(certificate.chain * 8, certificate.key)
        async with StunServer(certificate=long, dtls=True) as server:
            with Client(server.dtls_addresses[0]) as client:
                sizes = await client.handshake()
                assert max(sizes) <= 1200
                assert len(sizes) > 3
                assert mapped(await client.ask(request()))

    run(main)


@pytest.mark.slow  # a second: OpenSSL has a clock of its own
def test_what_the_server_sent_is_sent_again_when_nothing_comes(certificate: Certificate) -> None:
    """7350-1: OpenSSL's timer is served; the second flight comes unasked."""

    async def main() -> None:
        async with StunServer(certificate=certificate, dtls=True) as server:
            with Client(server.dtls_addresses[0]) as client:
                client.send(client.step())
                client.tls.bio_write(await client.receive())
                client.send(client.step())
                assert len(await client.receive()) == len(await client.receive()) > 300
                await client.handshake()
                assert mapped(await client.ask(request()))

    run(main)


# -- no state before the cookie


def test_a_client_hello_makes_no_state(certificate: Certificate) -> None:
    """7350-1: the cookie exchange; the first ClientHello gets no state, and a shorter answer."""

    async def main() -> None:
        async with StunServer(certificate=certificate, dtls=True) as server:
            clients = [Client(server.dtls_addresses[0]) for _ in range(20)]
            for client in clients:
                hello = client.step()
                client.send(hello)
                verify = await client.receive()
                assert len(verify) < len(hello)
                client.tls.bio_write(verify)
            assert server.connections == 0
            assert server.counters["dtls cookies"] == 20
            for client in reversed(clients):  # whatever the order in which they come back
                await client.handshake()
                assert mapped(await client.ask(request())) == client.sock.getsockname()
            assert server.connections == 20
            for client in clients:
                client.sock.close()

    run(main)


def test_a_cookie_is_for_one_address(certificate: Certificate) -> None:
    async def main() -> None:
        async with StunServer(certificate=certificate, dtls=True) as server:
            with Client(server.dtls_addresses[0]) as client, udp_client() as other:
                client.send(client.step())
                client.tls.bio_write(await client.receive())
                answer, _ = await ask_udp(other, client.step(), server.dtls_addresses[0])
                assert server.connections == 0
                assert server.counters["dtls cookies"] == 2
                assert len(answer) < 100

    run(main)


@pytest.mark.parametrize(("age", "connections"), [(0, 1), (1, 1), (2, 0), (1000, 0)])
def test_a_cookie_gets_old(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, age: int, connections: int
) -> None:
    period = 17
    monkeypatch.setattr(dtls.DtlsServer, "_period", property(lambda _: period))

    async def main() -> None:
        nonlocal period
        async with StunServer(certificate=certificate, dtls=True) as server:
            with Client(server.dtls_addresses[0]) as client:
                client.send(client.step())
                client.tls.bio_write(await client.receive())
                period += age
                client.send(client.step())
                await client.receive()  # the server's flight, or another cookie
                assert server.connections == connections

    run(main)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16",
        b"\x16\xfe\xff" + bytes(30),
        b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\xff\xff\x01" + bytes(100),
        b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\x00\x0c\x01" + bytes(11),
        b"\x16\xfe\xfd" + bytes(8) + b"\x10\x00\x01" + bytes(5000),
        b"\x17\xfe\xfd" + bytes(50),
        b"\x14\xfe\xfd\0\0\0\0\0\0\0\0\0\1\1",
        b"\x3f" * 20,
    ],
)
def test_garbage_is_counted_and_not_answered(certificate: Certificate, garbage: bytes) -> None:
    async def main() -> None:
        async with StunServer(certificate=certificate, dtls=True) as server:
            with Client(server.dtls_addresses[0]) as client:
                client.send(garbage)
                sizes = await client.handshake()
                assert sizes[0] < 100  # the cookie, and nothing before it
                assert mapped(await client.ask(request()))
                client.send(garbage)  # within the association, it does not matter either
                assert mapped(await client.ask(request()))
            counted = server.counters
            assert counted["dtls without an association"] + counted["dtls hello that cannot be read"] >= 1

    run(main)


# -- the end of associations, and limits


def test_goodbye(certificate: Certificate) -> None:
    """An answer is sent before it, and nothing is kept after it."""

    async def main() -> None:
        async with StunServer(certificate=certificate, dtls=True) as server:
            with Client(server.dtls_addresses[0]) as client:
                await client.handshake()
                client.tls.send(request())
                asked = client.written()
                client.tls.shutdown()
                client.send(asked)
                client.send(client.written())
                assert mapped(await client.answer())
                await until(lambda: server.connections == 0)
                assert server.counters["dtls association closed by the client"] == 1
                client.send(b"\x17\xfe\xfd" + bytes(50))
                await until(lambda: server.counters["dtls without an association"] == 1)

    run(main)


def test_a_client_that_begins_anew_at_the_same_port(certificate: Certificate) -> None:
    """RFC 6347 4.2.8: what it had is kept until it has proven its address, and replaced then."""

    async def main() -> None:
        async with StunServer(certificate=certificate, dtls=True) as server:
            with Client(server.dtls_addresses[0]) as client:
                await client.handshake()
                before = client.tls
                client.begin()
                after, hello = client.tls, client.step()
                client.send(hello)
                after.bio_write(await client.receive())
                client.tls = before
                assert mapped(await client.ask(request()))  # anybody could have sent that ClientHello
                client.tls = after
                await client.handshake()
                assert mapped(await client.ask(request()))
                assert server.connections == 1
                assert server.counters["dtls association begun anew"] == 1

    run(main)


@pytest.mark.parametrize(
    ("limits", "steps", "reason"),
    [
        (ServerLimits(handshake=0.05), 2, "dtls handshake that does not end"),
        (ServerLimits(first_message=0.05), 9, "idle dtls association"),
        (ServerLimits(idle=0.05), 10, "idle dtls association"),
    ],
)
def test_an_association_that_does_nothing_ends(
    certificate: Certificate, limits: ServerLimits, steps: int, reason: str
) -> None:
    async def main() -> None:
        async with StunServer(certificate=certificate, dtls=True, limits=limits) as server:
            with Client(server.dtls_addresses[0]) as client:
                if steps == 2:
                    client.send(client.step())
                    client.tls.bio_write(await client.receive())
                    client.send(client.step())
                    await client.receive()
                else:
                    await client.handshake()
                if steps == 10:
                    await client.ask(request())
                await until(lambda: server.counters[reason] == 1)
                assert server.connections == 0

    run(main)


@needs_linux
def test_associations_are_limited_with_all_connections(certificate: Certificate) -> None:
    async def main() -> None:
        limits = ServerLimits(connections_per_source=2)
        async with StunServer(certificate=certificate, dtls=True, limits=limits) as server:
            address = server.dtls_addresses[0]
            with Client(address) as one, Client(address) as other, Client(address, host="127.0.0.2") as third:
                await one.handshake()
                with socket.create_connection(server.tcp_addresses[0]):
                    await until(lambda: server.connections == 2)
                    other.send(other.step())
                    other.tls.bio_write(await other.receive())
                    other.send(other.step())
                    refused = "connection refused: too many from one source"
                    await until(lambda: server.counters[refused] == 1)
                    await third.handshake()
                    assert mapped(await third.ask(request()))
                await until(lambda: server.connections == 2)

    run(main)


def test_close_tells_the_clients(certificate: Certificate) -> None:
    async def main() -> None:
        server = StunServer(certificate=certificate, dtls=True)
        await server.start()
        with Client(server.dtls_addresses[0]) as client, Client(server.dtls_addresses[0]) as other:
            await client.handshake()
            other.send(other.step())
            other.tls.bio_write(await other.receive())
            other.send(other.step())
            await until(lambda: server.connections == 2)
            await server.close()
            assert server.connections == 0
            with pytest.raises(SSL.ZeroReturnError):
                await client.answer()

    run(main)


def test_missing_pyopenssl_is_told(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fasticePy.server.dtls", None)
    with pytest.raises(ImportError, match=r"fasticePy\[dtls\]"):
        StunServer(certificate=certificate, dtls=True)

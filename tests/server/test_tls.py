"""TLS on the TCP ports of the server."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from server_harness import ask_udp, connection, ended, mapped, read_message, request, run, udp_client, until

from fasticePy import stun
from fasticePy.server import Certificate, ServerLimits, StunServer, self_signed_certificate, tls

pytest.importorskip("cryptography", reason="certificates for the tests are made with cryptography")


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return self_signed_certificate()


def trusting(certificate: Certificate, *alpn: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=certificate.chain.decode())
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


@asynccontextmanager
async def tls_connection(
    server: StunServer, context: ssl.SSLContext
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = server.tls_addresses[0]
    reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname="localhost")
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


class RawClient:
    """The client's end of TLS in memory, on a socket that the test reads and writes byte by byte."""

    def __init__(self, context: ssl.SSLContext, address: tuple[str, int]) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.sock = socket.socket()
        self.address = address

    async def __aenter__(self) -> RawClient:
        self.sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(self.sock, self.address)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sock.close()

    def hello(self) -> bytes:
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def receive(self) -> bytes:
        """What comes next; nothing when the server has closed."""
        return await asyncio.get_running_loop().sock_recv(self.sock, 65536)

    async def handshake(self, pieces: int = 65536) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            else:
                break
            await self.flush(pieces)
            self.incoming.write(await self.receive())
        await self.flush(pieces)

    async def flush(self, pieces: int = 65536) -> None:
        data = self.outgoing.read()
        for start in range(0, len(data), pieces):
            await self.send(data[start : start + pieces])
            await asyncio.sleep(0)

    async def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                data += self.tls.read(size - len(data))
            except ssl.SSLWantReadError:
                self.incoming.write(await self.receive())
        return data


# -- answers


def test_udp_tcp_and_tls_share_a_port(certificate: Certificate) -> None:
    """8489-23: over each of them the source address as seen. 8489-58: the same server for all."""

    async def main() -> None:
        async with StunServer(certificate=certificate) as server:
            assert server.udp_addresses == server.tcp_addresses == server.tls_addresses
            assert server.dtls_addresses == ()
            with udp_client() as client:
                data, _ = await ask_udp(client, request(), server.udp_addresses[0])
                assert mapped(data) == client.getsockname()
            async with connection(server) as (reader, writer):
                writer.write(request())
                assert mapped(await read_message(reader)) == writer.get_extra_info("sockname")
            async with tls_connection(server, trusting(certificate)) as (reader, writer):
                writer.write(request())
                assert mapped(await read_message(reader)) == writer.get_extra_info("sockname")
                assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert server.counters["answered"] == 3

    run(main)


def test_an_ssl_context_of_ones_own(certificate: Certificate) -> None:
    async def main() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.load_into(context)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with (
            StunServer(ssl_context=context) as server,
            tls_connection(server, trusting(certificate)) as (reader, writer),
        ):
            assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
            writer.write(request())
            assert mapped(await read_message(reader))

    run(main)


def test_a_port_for_tls_takes_nothing_else(certificate: Certificate) -> None:
    async def main() -> None:
        async with StunServer(certificate=certificate, tls_listen=["127.0.0.1:0"]) as server:
            secure, shared = server.tls_addresses  # first the one for TLS alone
            assert (shared,) == server.tcp_addresses == server.udp_addresses
            async with tls_connection(server, trusting(certificate)) as (reader, writer):
                writer.write(request())
                assert mapped(await read_message(reader))
            reader, writer = await asyncio.open_connection(*secure)
            writer.write(request())
            assert await ended(reader)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            assert server.counters["tcp stream without tls on a port for tls"] == 1
            assert server.counters["answered"] == 1

    run(main)


def test_nothing_but_tls(certificate: Certificate) -> None:
    async def main() -> None:
        server = StunServer([], tls_listen=["127.0.0.1:0", "[::1]:0"], certificate=certificate)
        async with server:
            assert server.udp_addresses == server.tcp_addresses == ()
            assert len(server.tls_addresses) == 2
            assert server.urls == []
            async with tls_connection(server, trusting(certificate)) as (reader, writer):
                writer.write(request())
                assert mapped(await read_message(reader))

    run(main)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((), None),
        (("stun.nat-discovery",), "stun.nat-discovery"),
        (("stun.turn",), "stun.turn"),
        (("h2", "stun.nat-discovery"), "stun.nat-discovery"),
        (("h2", "http/1.1"), None),
    ],
)
def test_alpn_is_accepted_and_not_missed(
    certificate: Certificate, offered: tuple[str, ...], chosen: str | None
) -> None:
    """7350-1: the ids of RFC 7443, and none of them."""

    async def main() -> None:
        async with (
            StunServer(certificate=certificate) as server,
            tls_connection(server, trusting(certificate, *offered)) as (reader, writer),
        ):
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == chosen
            writer.write(request())
            assert mapped(await read_message(reader))

    run(main)


# -- which TLS


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Shake hands in memory. Raises ssl.SSLError when one side refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    theirs = tls.TlsFilter(server)
    while not theirs.established:
        with suppress(ssl.SSLWantReadError):
            ours.do_handshake()
        theirs.receive(to_server.read())
        to_client.write(theirs.take())
    ours.do_handshake()
    return ours


@pytest.fixture(scope="module")
def rsa_certificate() -> Certificate:
    return self_signed_certificate(["localhost"], rsa=True)


@pytest.mark.parametrize("suite", ["ECDHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"])
def test_the_suites_that_must_be_there(rsa_certificate: Certificate, suite: str) -> None:
    """8489-16: a handshake with each suite (TLS 1.2)."""
    client = trusting(rsa_certificate)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(suite)
    made = handshake(tls.server_context(rsa_certificate), client)
    assert made.cipher() == (suite, "TLSv1.2", 128)


@pytest.mark.parametrize(
    "suite", ["AES128-GCM-SHA256", "AES128-SHA", "ECDHE-RSA-AES128-SHA", "ADH-AES128-SHA"]
)
def test_suites_without_ephemeral_keys_or_authenticated_ciphers_are_refused(
    rsa_certificate: Certificate, suite: str
) -> None:
    """8489-16: perfect forward secrecy is not a preference here."""
    client = trusting(rsa_certificate)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(f"{suite}:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        handshake(tls.server_context(rsa_certificate), client)


def test_the_context(rsa_certificate: Certificate) -> None:
    """8489-16: no DES or RC4, no compression, TLS 1.2 at least, no renegotiation."""
    context = tls.server_context(rsa_certificate)
    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert not [name for name in names if "DES" in name or "RC4" in name or "NULL" in name]
    assert all(name.startswith(("TLS_", "ECDHE-", "DHE-")) for name in names)
    assert {"ECDHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"} <= names
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION


# -- streams


def test_the_stream_may_be_cut_anywhere(certificate: Certificate) -> None:
    """8489-13: one byte at a time, handshake and records alike."""

    async def main() -> None:
        context = trusting(certificate)
        async with (
            StunServer(certificate=certificate) as server,
            RawClient(context, server.tls_addresses[0]) as client,
        ):
            await client.handshake(pieces=1)
            client.tls.write(request() + request()[:7])
            client.tls.write(request()[7:])
            await client.flush(pieces=1)
            for _ in range(2):
                assert mapped(await client.read(32)) == client.sock.getsockname()

    run(main)


def test_pipelined_requests_are_all_answered(certificate: Certificate) -> None:
    """8489-14: 50 requests in one write."""

    async def main() -> None:
        async with (
            StunServer(certificate=certificate) as server,
            tls_connection(server, trusting(certificate)) as (reader, writer),
        ):
            requests = [request() for _ in range(50)]
            writer.write(b"".join(requests))
            answered = [stun.parse(await read_message(reader)).transaction_id for _ in requests]
            assert answered == [stun.parse(data).transaction_id for data in requests]

    run(main)


def test_goodbye_with_a_request_before_it(certificate: Certificate) -> None:
    """8489-15: a client that says close_notify, and nothing else comes from it, gets its answers."""

    async def main() -> None:
        async with (
            StunServer(certificate=certificate) as server,
            RawClient(trusting(certificate), server.tls_addresses[0]) as client,
        ):
            await client.handshake()
            client.tls.write(request())
            with suppress(ssl.SSLWantReadError):
                client.tls.unwrap()
            await client.flush()
            while data := await client.receive():
                client.incoming.write(data)
            assert mapped(client.tls.read(1000))
            client.tls.unwrap()  # the server has said goodbye too
            await until(lambda: server.connections == 0)

    run(main)


# -- bad input and limits


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16" + bytes(100),
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x03\x40\x01" + bytes(0x4001),
        b"\x16GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["zeros", "no handshake", "too long", "http"],
)
def test_what_is_no_handshake_ends_that_connection_alone(certificate: Certificate, garbage: bytes) -> None:
    async def main() -> None:
        async with (
            StunServer(certificate=certificate) as server,
            tls_connection(server, trusting(certificate)) as (other_reader, other_writer),
            RawClient(trusting(certificate), server.tls_addresses[0]) as client,
        ):
            await client.send(garbage)
            with suppress(ConnectionError):
                while await client.receive():
                    pass
            other_writer.write(request())
            assert mapped(await read_message(other_reader))
            await until(lambda: server.connections == 1)
            assert server.counters["tls handshake failed"] == 1

    run(main)


def test_http_in_tls_ends_that_connection_alone(certificate: Certificate) -> None:
    async def main() -> None:
        async with (
            StunServer(certificate=certificate) as server,
            tls_connection(server, trusting(certificate, "http/1.1")) as (reader, writer),
            tls_connection(server, trusting(certificate)) as (other_reader, other_writer),
        ):
            writer.write(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n")
            assert await ended(reader)
            other_writer.write(request())
            assert mapped(await read_message(other_reader))
            assert sum(count for reason, count in server.counters.items() if "not STUN" in reason) == 1

    run(main)


def test_a_record_that_was_tampered_with(certificate: Certificate) -> None:
    async def main() -> None:
        async with (
            StunServer(certificate=certificate) as server,
            RawClient(trusting(certificate), server.tls_addresses[0]) as client,
        ):
            await client.handshake()
            client.tls.write(request())
            data = bytearray(client.outgoing.read())
            data[-1] ^= 1
            await client.send(bytes(data))
            with suppress(ConnectionError):
                while await client.receive():
                    pass
            await until(lambda: server.connections == 0)
            assert server.counters["tls stream broken"] == 1
            assert server.counters["answered"] == 0

    run(main)


async def nothing(client: RawClient) -> None:
    """Connected, and silent."""


async def half_a_hello(client: RawClient) -> None:
    await client.send(client.hello()[:100])


async def first_byte(client: RawClient) -> None:
    await client.send(b"\x16")


async def no_finished(client: RawClient) -> None:
    await client.send(client.hello())


async def silence_after_the_handshake(client: RawClient) -> None:
    await client.handshake()


async def half_a_message(client: RawClient) -> None:
    await client.handshake()
    client.tls.write(request() + request()[:10])
    await client.flush()


async def half_a_record(client: RawClient) -> None:
    await client.handshake()
    client.tls.write(request())
    await client.flush()
    client.tls.write(request())
    await client.send(client.outgoing.read()[:10])


@pytest.mark.parametrize(
    ("script", "limits", "reason"),
    [
        (nothing, ServerLimits(first_message=0.05), "tcp connection without a message"),
        (first_byte, ServerLimits(handshake=0.05), "tls handshake that does not end"),
        (half_a_hello, ServerLimits(handshake=0.05), "tls handshake that does not end"),
        (no_finished, ServerLimits(handshake=0.05), "tls handshake that does not end"),
        (silence_after_the_handshake, ServerLimits(first_message=0.2), "tcp connection without a message"),
        (half_a_message, ServerLimits(message=0.05), "tcp message that does not end"),
        (half_a_record, ServerLimits(idle=0.05), "idle tcp connection"),
    ],
)
def test_a_connection_that_does_nothing_ends(
    certificate: Certificate, script: Callable[[RawClient], Any], limits: ServerLimits, reason: str
) -> None:
    """8489-15: those in use are left open, those that waste the server's memory are not."""

    async def main() -> None:
        async with (
            StunServer(certificate=certificate, limits=limits) as server,
            RawClient(trusting(certificate), server.tls_addresses[0]) as client,
        ):
            await script(client)
            with suppress(ConnectionError):
                while await client.receive():
                    pass
            await until(lambda: server.connections == 0)
            assert server.counters[reason] == 1

    run(main)


def test_a_client_that_does_not_read_is_not_served_for_ever(certificate: Certificate) -> None:
    async def main() -> None:
        limits = ServerLimits(unsent_bytes=1000, stalled=0.1)
        async with (
            StunServer(certificate=certificate, limits=limits) as server,
            RawClient(trusting(certificate), server.tls_addresses[0]) as client,
        ):
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await client.handshake()
            with suppress(ConnectionError):
                while server.counters["tcp client that does not read"] == 0:
                    client.tls.write(request() * 800)
                    await client.flush()
            await until(lambda: server.connections == 0)
            assert server.counters["tcp client that does not read"] == 1

    run(main)


def test_connections_over_tls_count_as_those_over_tcp(certificate: Certificate) -> None:
    async def main() -> None:
        limits = ServerLimits(connections_per_source=2)
        async with (
            StunServer(certificate=certificate, limits=limits) as server,
            connection(server),
            tls_connection(server, trusting(certificate)),
        ):
            await until(lambda: server.connections == 2)
            async with RawClient(trusting(certificate), server.tls_addresses[0]) as client:
                with suppress(ConnectionError):
                    assert await client.receive() == b""
            assert server.counters["connection refused: too many from one source"] == 1

    run(main)


def test_close_ends_connections_in_every_state(certificate: Certificate) -> None:
    async def main() -> None:
        server = StunServer(certificate=certificate)
        await server.start()
        address = server.tls_addresses[0]
        context = trusting(certificate)
        async with RawClient(context, address) as hello, RawClient(context, address) as ready:
            await hello.send(hello.hello())
            await ready.handshake()
            await until(lambda: server.connections == 2)
            await server.close()
            assert server.connections == 0

    run(main)


# -- options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tls_listen": ["127.0.0.1:0"]}, "certificate"),
        ({"tls_listen": ["127.0.0.1:0"], "certificate": True, "tcp": False}, "TCP"),
        ({"certificate": True, "ssl_context": True}, "not both"),
        ({"dtls": True}, "certificate"),
        ({"certificate": True, "tls_listen": ["localhost:1"]}, "localhost"),
        ({"realm": "example.org"}, "users"),
        ({"users": {"a": "b"}, "authentication": object()}, "not both"),
    ],
)
def test_options_that_do_not_fit_together(
    certificate: Certificate, options: dict[str, Any], said: str
) -> None:
    if "certificate" in options:
        options = {**options, "certificate": certificate}
    if "ssl_context" in options:
        options = {**options, "ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}
    with pytest.raises(ValueError, match=said):
        StunServer(**options)

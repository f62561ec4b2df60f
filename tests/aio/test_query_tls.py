"""`stun.query` over TLS and DTLS: who is accepted, and that nothing is said to anybody else."""

from __future__ import annotations

import asyncio
import base64
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fasticePy import StunError, stun
from fasticePy.aio import UdpEndpoint, open_udp_socket
from fasticePy.aio.tls import client_context
from fasticePy.machine import Address
from fasticePy.stun import BindingServer, StreamDecoder

pytest.importorskip("cryptography", reason="certificates for the tests are made with cryptography")

Run = Callable[..., Any]


class Names:
    """Every name is 127.0.0.1, and there are no service records but these."""

    def __init__(self, **records: Any) -> None:
        self.service = records

    def resolve(self, host: str, port: int, handler: Any, **_: Any) -> Any:
        return asyncio.get_running_loop().call_soon(handler.addresses_found, [("127.0.0.1", port)], True)

    async def records(self, question: Any) -> Any:
        return self.service.get(question.name.partition(".")[0], ())


class TlsServer(asyncio.Protocol):
    """A connection of a STUN server over TLS that notes what it heard."""

    heard: list[bytes]
    alpn: list[str | None]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.alpn.append(transport.get_extra_info("ssl_object").selected_alpn_protocol())
        self.decoder = StreamDecoder("stun")
        self.machine = BindingServer()

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)
        for message in self.decoder.feed(data):
            self.machine.datagram_received(1, message, self.transport.get_extra_info("peername")[:2], 0.0)
        for transmit in self.machine.take_transmits():
            self.transport.write(transmit.data)


@asynccontextmanager
async def tls_server(context: ssl.SSLContext) -> AsyncIterator[Any]:
    """Serves on loopback. Gives the class of its connections, with `port`."""

    class Connection(TlsServer):
        heard: list[bytes] = []  # noqa: RUF012 - of this server
        alpn: list[str | None] = []  # noqa: RUF012
        open: set[Any] = set()  # noqa: RUF012
        port = 0

        def connection_made(self, transport: Any) -> None:
            self.open.add(transport)
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            self.open.discard(self.transport)
            self.transport.close()  # or Python 3.10 complains

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, ssl=context)
    Connection.port = server.sockets[0].getsockname()[1]
    # connections that failed in the handshake are complained about by the event loop: they are meant to
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: None)
    try:
        yield Connection
    finally:
        server.close()
        for _ in range(200):
            if not Connection.open:
                break
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
        loop.set_exception_handler(before)


async def failure(*arguments: Any, **options: Any) -> StunError:
    with pytest.raises(StunError) as caught:
        await stun.query(*arguments, **options)
    return caught.value


# --- the context


def test_the_default_context() -> None:
    """8489-16: both mandatory suites, ephemeral keys before all others, nothing weak, no compression."""
    context = client_context("stun.nat-discovery")
    ciphers = context.get_ciphers()
    names = [cipher["name"] for cipher in ciphers]
    assert {"ECDHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"} <= set(names)
    exchanges = {cipher.get("kea") for cipher in ciphers}
    assert exchanges <= {"kx-any", "kx-ecdhe", "kx-dhe"}
    assert not [name for name in names if "DES" in name or "RC4" in name or "NULL" in name]
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def ffdhe2048() -> str:
    """The group of RFC 7919 A.1 as OpenSSL reads it: p = 2^2048 - 2^1984 + (floor(2^1918 e) + 560316) 2^64 - 1."""
    e, term, n = 0, 1 << 2100, 0
    while term:
        e, n = e + term, n + 1
        term //= n
    p = 2**2048 - 2**1984 + ((e >> (2100 - 1918)) + 560316) * 2**64 - 1
    integers = b"\x02\x82\x01\x01\x00" + p.to_bytes(256, "big") + b"\x02\x01\x02"
    der = b"\x30\x82" + len(integers).to_bytes(2, "big") + integers
    return f"-----BEGIN DH PARAMETERS-----\n{base64.encodebytes(der).decode()}-----END DH PARAMETERS-----\n"


@pytest.mark.parametrize("suite", ["ECDHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"])
def test_handshake_with_each_mandatory_suite(run: Run, authority: Any, tmp_path: Any, suite: str) -> None:
    """8489-16: TLS 1.2 with nothing but this suite."""
    path = tmp_path / "dh.pem"
    path.write_text(ffdhe2048())
    server_context = authority.issue("stun.test", rsa=True).server_context()
    server_context.maximum_version = ssl.TLSVersion.TLSv1_2
    server_context.set_ciphers(suite)
    server_context.load_dh_params(str(path))
    context = client_context("stun.nat-discovery")
    context.load_verify_locations(authority.path)

    async def body() -> None:
        async with tls_server(server_context) as server:
            result = await stun.query(f"stuns:stun.test:{server.port}", ssl_context=context, resolver=Names())
            assert result.transport == "tls"

    run(body())


# --- TLS


def test_tells_our_address_over_tls(run: Run, authority: Any) -> None:
    """8489-23, 8489-17: the name of the URI is verified, wildcards in the leftmost label are fine."""

    async def body() -> None:
        for names, host in (
            (["stun.example.test"], "stun.example.test"),
            (["*.example.test"], "stun.example.test"),
            (["other.test", "STUN.example.test"], "stun.EXAMPLE.test."),
        ):
            async with tls_server(authority.issue(*names).server_context()) as server:
                result = await stun.query(
                    f"stuns:{host}:{server.port}",
                    ssl_context=authority.client_context(),
                    resolver=Names(),
                )
                assert (result.transport, result.server) == ("tls", ("127.0.0.1", server.port))
                assert result.mapped_address == result.local_address
                assert result.setup > 0
                assert result.rtt is not None

    run(body())


def test_only_who_proves_the_name_hears_of_us(run: Run, authority: Any) -> None:
    """8489-17: wrong name, wildcards in the wrong place, expired, self-signed: no STUN byte leaves."""
    cases = [
        (authority.issue("other.test"), "certificate is not valid for 'stun.example.test'"),
        (authority.issue("*.test"), "certificate is not valid for 'stun.example.test'"),
        (authority.issue("stun.*.test"), "certificate is not valid for 'stun.example.test'"),
        (authority.issue("stun.example.test", expired=True), "certificate has expired"),
        (authority.self_signed("stun.example.test"), "self-signed certificate"),
    ]

    async def body() -> None:
        for certificate, reason in cases:
            async with tls_server(certificate.server_context()) as server:
                wrong = await failure(
                    f"stuns:stun.example.test:{server.port}",
                    ssl_context=authority.client_context(),
                    resolver=Names(),
                )
                (attempt,) = (attempt for attempt in wrong.attempts if attempt.what == "tls")
                assert attempt.outcome == "certificate"
                assert "the certificate is not accepted as that of stun.example.test" in attempt.detail
                assert reason in attempt.detail.replace("self signed", "self-signed")
                assert server.heard == []
        # the default context trusts the system's authorities, and so not ours
        async with tls_server(authority.issue("stun.example.test").server_context()) as server:
            wrong = await failure(f"stuns:stun.example.test:{server.port}", resolver=Names())
            assert wrong.attempts[-1].outcome == "certificate"
            assert server.heard == []

    run(body())


def test_the_name_is_that_of_the_uri_not_of_an_srv_record(run: Run, authority: Any) -> None:
    """8489-17: what unsigned DNS answers say proves nothing."""

    async def body() -> None:
        for name, accepted in (("example.test", True), ("server.test", False)):
            async with tls_server(authority.issue(name).server_context()) as server:
                resolver = Names(_stuns=[stun_srv(server.port, "server.test")])
                options = {"ssl_context": authority.client_context(), "resolver": resolver}
                if accepted:
                    result = await stun.query("stuns:example.test", **options)
                    assert result.server[1] == server.port
                else:
                    wrong = await failure("stuns:example.test", **options)
                    assert wrong.attempts[-1].outcome == "certificate"
                    assert server.heard == []

    run(body())


def stun_srv(port: int, target: str) -> Any:
    from fasticePy.stun.discovery import SrvRecord

    return SrvRecord(0, 0, port, target)


def test_an_address_needs_a_name_to_verify(run: Run, authority: Any) -> None:
    """7350-3, 8489-27: `stuns:` with an address is refused unless the name comes with it."""

    async def body() -> None:
        async with tls_server(authority.issue("stun.example.test").server_context()) as server:
            url = f"stuns:127.0.0.1:{server.port}"
            with pytest.raises(ValueError, match="host name"):
                await stun.query(url, ssl_context=authority.client_context())
            assert server.heard == []
            result = await stun.query(
                url, server_hostname="stun.example.test", ssl_context=authority.client_context()
            )
            assert result.transport == "tls"
            wrong = await failure(url, server_hostname="other.test", ssl_context=authority.client_context())
            assert wrong.attempts[-1].outcome == "certificate"

    run(body())


@pytest.mark.parametrize(("scheme", "label"), [("stuns", "stun.nat-discovery"), ("turns", "stun.turn")])
def test_the_flow_says_what_it_is_for(
    run: Run, authority: Any, monkeypatch: pytest.MonkeyPatch, scheme: str, label: str
) -> None:
    """7350-1: the ALPN label of RFC 7443 is offered, and a server that knows none is fine too."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))  # what the default context trusts

    async def body() -> None:
        for known in ([label], []):
            server_context = authority.issue("stun.test").server_context()
            if known:
                server_context.set_alpn_protocols(known)
            async with tls_server(server_context) as server:
                await stun.query(f"{scheme}:stun.test:{server.port}", resolver=Names())
                assert server.alpn == [label if known else None]

    run(body())


def test_servers_that_do_not_speak_tls(run: Run, authority: Any) -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.close()

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            pass
        writer.close()

    async def body() -> None:
        for handle, outcome, reason in (
            (http, "tls", "the server does not speak TLS there"),
            (hang_up, "closed", "the server closed the connection during the TLS handshake"),
            (nothing, "timeout", "no end of the TLS handshake within 0.3 s"),
        ):
            server = await asyncio.start_server(handle, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            wrong = await failure(
                f"stuns:stun.test:{port}",
                ssl_context=authority.client_context(),
                resolver=Names(),
                timeout=0.3 if outcome == "timeout" else 10,
            )
            assert wrong.attempts[-1].outcome == outcome
            assert reason in str(wrong)
            server.close()
            await asyncio.sleep(0.02)

    run(body())


# --- DTLS


class DtlsServer:
    """A STUN server over DTLS for one client, by pyOpenSSL."""

    def __init__(self, certificate: Any) -> None:
        from OpenSSL import SSL

        context = SSL.Context(SSL.DTLS_SERVER_METHOD)
        context.use_certificate_file(str(certificate.cert))
        context.use_privatekey_file(str(certificate.key))
        context.set_alpn_select_callback(lambda _, labels: labels[0])
        self.connection = SSL.Connection(context, None)
        self.connection.set_accept_state()
        self.connection.set_ciphertext_mtu(1200)
        self.machine = BindingServer()
        self.heard: list[bytes] = []
        self.goodbye = False
        self.intruder: UdpEndpoint | None = None
        self.lose = 0
        self.dead = False
        loop = asyncio.get_running_loop()
        self.endpoint = UdpEndpoint(loop, 1, open_udp_socket(("127.0.0.1", 0)), self, Counter())
        self.port = self.endpoint.address[1]

    def datagram_received(self, socket: int, data: bytes, address: Address) -> None:
        from OpenSSL import SSL

        from fasticePy.aio.dtls import split_records

        if self.lose or self.dead:
            self.lose = max(0, self.lose - 1)
            return
        if self.intruder is not None:
            self.intruder.send(data, address)
        self.connection.bio_write(data)
        try:
            self.connection.do_handshake()
            while True:
                message = self.connection.recv(2000)
                self.heard.append(message)
                if self.goodbye:
                    self.connection.shutdown()
                    break
                self.machine.datagram_received(1, message, address, 0.0)
                for transmit in self.machine.take_transmits():
                    self.connection.send(transmit.data)
        except SSL.Error:
            pass
        try:
            for datagram in split_records(self.connection.bio_read(65536), 1200):
                self.endpoint.send(datagram, address)
        except SSL.Error:
            return

    def batch_ended(self) -> None:
        """All was sent."""

    def socket_error(self, socket: int, address: Address | None, reason: str) -> None:
        """The client went away."""

    async def __aenter__(self) -> DtlsServer:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.endpoint.close()


@pytest.fixture
def dtls() -> type[DtlsServer]:
    pytest.importorskip("OpenSSL", reason="DTLS needs pyOpenSSL (pip install 'fasticePy[dtls]')")
    return DtlsServer


def test_tells_our_address_over_dtls(run: Run, authority: Any, dtls: type[DtlsServer]) -> None:
    """7350-1: `stuns:` with transport dtls; ALPN is offered."""

    async def body() -> None:
        async with dtls(authority.issue("stun.test")) as server:
            options = {"ssl_context": authority.client_context(), "resolver": Names()}
            result = await stun.query(f"stuns:stun.test:{server.port}", transport="dtls", **options)
            assert (result.transport, result.server) == ("dtls", ("127.0.0.1", server.port))
            assert result.mapped_address == result.local_address
            assert result.setup > 0
            assert server.connection.get_alpn_proto_negotiated() == b"stun.nat-discovery"
            assert str(result.attempts[-1]).startswith("dtls 127.0.0.1:")
        async with dtls(authority.issue("stun.test")) as server:
            result = await stun.query(f"turns:stun.test:{server.port}?transport=udp", **options)
            assert result.transport == "dtls"
            assert server.connection.get_alpn_proto_negotiated() == b"stun.turn"

    run(body())


def test_over_dtls_too_only_who_proves_the_name_hears_of_us(
    run: Run, authority: Any, dtls: type[DtlsServer]
) -> None:
    """7350-1: 8489-17 goes for DTLS."""
    cases = [
        (authority.issue("other.test"), "it is not for stun.example.test"),
        (authority.issue("stun.example.test", expired=True), "certificate has expired"),
        (authority.self_signed("stun.example.test"), "self-signed certificate"),
    ]

    async def body() -> None:
        for certificate, reason in cases:
            async with dtls(certificate) as server:
                wrong = await failure(
                    f"stuns:stun.example.test:{server.port}",
                    transport="dtls",
                    ssl_context=authority.client_context(),
                    resolver=Names(),
                )
                (attempt,) = (attempt for attempt in wrong.attempts if attempt.what == "dtls")
                assert attempt.outcome == "certificate"
                assert attempt.detail.endswith(reason)
                assert server.heard == []
        async with dtls(authority.issue("stun.test")) as server:  # the system's authorities do not know ours
            wrong = await failure(f"stuns:stun.test:{server.port}", transport="dtls", resolver=Names())
            assert wrong.attempts[-1].outcome == "certificate"
        async with dtls(authority.self_signed("other.test")) as server:
            careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            careless.check_hostname = False
            careless.verify_mode = ssl.CERT_NONE
            assert await stun.query(
                f"stuns:stun.test:{server.port}", transport="dtls", ssl_context=careless, resolver=Names()
            )

    run(body())


def test_dtls_with_losses_and_without_a_server(
    run: Run, authority: Any, dtls: type[DtlsServer], closed_port: Callable[[str], Address]
) -> None:
    """7350-1: what is lost is sent again; a closed port ends it at once, silence when time is over."""

    async def body() -> None:
        options = {"transport": "dtls", "ssl_context": authority.client_context(), "resolver": Names()}
        async with dtls(authority.issue("stun.test")) as server:
            server.lose = 1
            assert await stun.query(f"stuns:stun.test:{server.port}", **options)
        async with dtls(authority.issue("stun.test")) as server:
            server.dead = True
            wrong = await failure(f"stuns:stun.test:{server.port}", timeout=0.2, **options)
            assert "no end of the DTLS handshake within 0.2 s" in str(wrong)
        wrong = await failure(f"stuns:stun.test:{closed_port('127.0.0.1')[1]}", timeout=30, **options)
        assert wrong.attempts[-1].outcome == "unreachable"
        assert "ICMP port unreachable" in str(wrong)

    run(body())


def test_an_association_that_ends_and_datagrams_of_others(
    run: Run, authority: Any, dtls: type[DtlsServer]
) -> None:
    """7350-1: a closed association fails the request at once; what is not from the server means nothing."""

    async def body() -> None:
        options = {"transport": "dtls", "ssl_context": authority.client_context(), "resolver": Names()}
        async with dtls(authority.issue("stun.test")) as server:
            server.goodbye = True
            wrong = await failure(f"stuns:stun.test:{server.port}", timeout=30, **options)
            assert wrong.attempts[-1].outcome == "closed"
            assert str(wrong).endswith("the server closed the association")
            assert len(server.heard) == 1
        async with dtls(authority.issue("stun.test")) as server, dtls(authority.issue("stun.test")) as other:
            server.intruder = other.endpoint
            assert await stun.query(f"stuns:stun.test:{server.port}", **options)

    run(body())


def test_without_pyopenssl_the_error_names_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "OpenSSL", None)
    monkeypatch.delitem(sys.modules, "fasticePy.aio.dtls", raising=False)

    async def body() -> None:
        wrong = await failure("stuns:stun.test:1", transport="dtls", resolver=Names())
        assert wrong.attempts[-1].outcome == "unusable"
        assert "pip install 'fasticePy[dtls]'" in str(wrong)

    run(body())


def test_names_in_certificates(authority: Any) -> None:
    """8489-17: DNS-ID with a leftmost wildcard, CN-ID where there is no DNS-ID, addresses as addresses."""
    pytest.importorskip("OpenSSL", reason="DTLS needs pyOpenSSL (pip install 'fasticePy[dtls]')")
    from cryptography import x509

    from fasticePy.aio.dtls import matches

    def load(certificate: Any) -> Any:
        return x509.load_pem_x509_certificate(certificate.cert.read_bytes())

    named = load(authority.issue("a.test", "*.b.test", "192.0.2.1"))
    common = load(authority.issue(common_name="c.test"))
    both = load(authority.issue("a.test", common_name="c.test"))
    for certificate, name in (
        (named, "a.test"),
        (named, "A.TEST."),
        (named, "x.b.test"),
        (named, "192.0.2.1"),
        (common, "c.test"),
    ):
        assert matches(certificate, name), name
    for certificate, name in (
        (named, "b.test"),
        (named, "x.y.b.test"),
        (named, ".b.test"),
        (named, "192.0.2.2"),
        (named, "*.b.test.evil"),
        (common, "d.test"),
        (both, "c.test"),
    ):
        assert not matches(certificate, name), name
    assert not matches(load(authority.issue("*.test")), "test")


def test_records_are_packed_whole_into_datagrams() -> None:
    """7350-1: a DTLS record is never split over datagrams."""
    pytest.importorskip("OpenSSL", reason="DTLS needs pyOpenSSL (pip install 'fasticePy[dtls]')")
    from fasticePy.aio.dtls import split_records

    def record(size: int) -> bytes:
        return b"\x16\xfe\xfd" + bytes(8) + size.to_bytes(2, "big") + b"x" * size

    a, b, c = record(500), record(600), record(900)
    assert split_records(a + b + c, 1200) == [a + b, c]
    assert split_records(c + a + b, 1200) == [c, a + b]
    assert split_records(record(2000) + a, 1200) == [record(2000), a]
    assert split_records(b"", 1200) == []

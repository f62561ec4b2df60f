"""`stun.query` over UDP and TCP: real sockets on loopback, names from a resolver of the test."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

import fasticePy
from fasticePy import ParseError, StunError, stun
from fasticePy.aio import IceServer, UdpEndpoint, open_udp_socket
from fasticePy.aio.dns import DnsError
from fasticePy.machine import Address
from fasticePy.server import StunServer
from fasticePy.stun import Attribute, MessageBuilder, MessageClass, Method
from fasticePy.stun.discovery import NaptrRecord, Question, Record, SrvRecord
from fasticePy.stun.uri import ServerUrl

Run = Callable[..., Any]
Reply = Callable[[stun.Message, Address], Iterable[bytes]]


def success(request: stun.Message, address: Address, **attributes: Any) -> bytes:
    builder = MessageBuilder(Method.BINDING, MessageClass.SUCCESS, request.transaction_id)
    builder.add(Attribute.XOR_MAPPED_ADDRESS, address)
    for name, value in attributes.items():
        builder.add(Attribute[name], value)
    return builder.build()


def error(request: stun.Message, code: int, phrase: str = "", **attributes: Any) -> bytes:
    builder = MessageBuilder(Method.BINDING, MessageClass.ERROR, request.transaction_id)
    builder.add(Attribute.ERROR_CODE, (code, phrase))
    for name, value in attributes.items():
        builder.add(Attribute[name], value)
    return builder.build()


def answers(request: stun.Message, address: Address) -> list[bytes]:
    return [success(request, address)]


def says_nothing(request: stun.Message, address: Address) -> list[bytes]:
    return []


class UdpServer:
    """A server over UDP that answers as it is told."""

    def __init__(self, reply: Reply, host: str = "127.0.0.1") -> None:
        self.reply = reply
        self.requests: list[stun.Message] = []
        loop = asyncio.get_running_loop()
        self.endpoint = UdpEndpoint(loop, 1, open_udp_socket((host, 0)), self, Counter())
        self.address = self.endpoint.address
        self.port = self.address[1]
        self.url = f"stun:{host}:{self.port}"

    def datagram_received(self, socket: int, data: bytes, address: Address) -> None:
        request = stun.parse(data)
        self.requests.append(request)
        for answer in self.reply(request, address):
            self.endpoint.send(answer, address)

    def batch_ended(self) -> None:
        """Nothing was left for the end."""

    def socket_error(self, socket: int, address: Address | None, reason: str) -> None:
        """The client went away."""

    async def __aenter__(self) -> UdpServer:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.endpoint.close()


@asynccontextmanager
async def tcp_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
    host: str = "127.0.0.1",
    **options: Any,
) -> AsyncIterator[Address]:
    """A server over TCP, where it is. Its connections end with it."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handle(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return  # the client went away
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, host, 0, **options)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # transports take a turn to let go


async def read_request(reader: asyncio.StreamReader) -> stun.Message:
    header = await reader.readexactly(20)
    return stun.parse(header + await reader.readexactly(int.from_bytes(header[2:4], "big")))


class Names:
    """A resolver that knows what it is told, and remembers what it was asked."""

    def __init__(
        self,
        hosts: dict[str, Sequence[Address]] | None = None,
        records: dict[str, Sequence[Record] | Exception | None] | None = None,
    ) -> None:
        self.hosts = hosts or {}
        self.service = records or {}
        self.asked: list[str] = []

    def resolve(self, host: str, port: int, handler: Any, *, ipv4: bool = True, ipv6: bool = True) -> Any:
        self.asked.append(f"{'A' * ipv4}{' ' * (ipv4 and ipv6)}{'AAAA' * ipv6} {host}:{port}")
        loop = asyncio.get_running_loop()
        found = [
            (address, its_port or port)
            for address, its_port in self.hosts.get(host, ())
            if (ipv6 if ":" in address else ipv4)
        ]
        if found:
            return loop.call_soon(handler.addresses_found, found, True)
        return loop.call_soon(handler.lookup_failed, "the name does not exist")

    async def records(self, question: Question) -> Sequence[Record]:
        self.asked.append(str(question))
        found = self.service.get(str(question), ())
        if found is None:
            await asyncio.Event().wait()  # a name server that never answers
        if isinstance(found, Exception):
            raise found
        return found or ()


@contextmanager
def black_hole(host: str) -> Any:
    """An address that neither accepts nor refuses TCP connections: the queue of its listener is full."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen(0)
        clients = []
        try:
            for _ in range(4):
                client = socket.socket(family)
                clients.append(client)
                client.setblocking(False)
                client.connect_ex(listener.getsockname())
            yield listener.getsockname()[:2]
        finally:
            for client in clients:
                client.close()


def tried(attempts: Iterable[stun.Attempt]) -> list[tuple[str, str]]:
    return [(attempt.what, attempt.outcome) for attempt in attempts]


async def failure(*arguments: Any, **options: Any) -> StunError:
    with pytest.raises(StunError) as caught:
        await stun.query(*arguments, **options)
    return caught.value


# --- answers


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_tells_our_address_over_ipv4(run: Run, transport: Any) -> None:
    """8489-23: and what else there is to know of the server and of the way to it."""

    async def body() -> None:
        async with StunServer(software="tester 1.0") as server:
            result = await stun.query(server.urls[0], transport=transport)
            assert result.mapped_address == result.local_address
            assert result.mapped_address[0] == "127.0.0.1"
            assert result.server == server.udp_addresses[0]
            assert result.url == server.urls[0]
            assert (result.transport, result.family, result.software) == (transport, 4, "tester 1.0")
            assert result.rtt is not None and result.rtt > 0
            assert (result.setup > 0) == (transport == "tcp")
            assert (result.realm, result.authenticated) == (None, False)
            assert tried(result.attempts) == [(transport, "ok")]
            (attempt,) = result.attempts
            assert attempt.ok and attempt.address == result.server and attempt.response is not None
            host, port = result.mapped_address
            assert str(attempt) == f"{transport} 127.0.0.1:{result.server[1]}: you are {host}:{port}"

    run(body())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_tells_our_address_over_ipv6(run: Run, ipv6_loopback: str, transport: Any) -> None:
    async def body() -> None:
        async with StunServer([f"[{ipv6_loopback}]:0"]) as server:
            result = await stun.query(server.urls[0], transport=transport, family=6)
            assert (result.family, result.server[0]) == (6, ipv6_loopback)
            assert result.mapped_address == result.local_address
            assert str(result.attempts[0]).count("[::1]:") == 2

    run(body())


def test_every_form_of_a_server(run: Run) -> None:
    async def body() -> None:
        async with StunServer() as server:
            port = server.udp_addresses[0][1]
            for form in (
                ServerUrl("stun", "127.0.0.1", port, "udp"),
                f"STUN:127.0.0.1:{port}",
                f"turn:127.0.0.1:{port}?transport=tcp",
                IceServer([f"stun:127.0.0.1:{port}"]),
                {"urls": f"turn:127.0.0.1:{port}", "username": "u", "credential": "p"},
            ):
                result = await stun.query(form)  # type: ignore[arg-type]
                assert result.server[1] == port
                assert result.transport == ("tcp" if "tcp" in result.url else "udp")

    run(body())


def test_the_urls_of_an_ice_server_are_asked_one_after_the_other(
    run: Run, closed_port: Callable[[str], Address]
) -> None:
    async def body() -> None:
        async with StunServer() as server:
            dead = f"stun:127.0.0.1:{closed_port('127.0.0.1')[1]}"
            result = await stun.query({"urls": [dead, server.urls[0]]})
            assert result.url == server.urls[0]
            assert tried(result.attempts) == [("udp", "unreachable"), ("udp", "ok")]

    run(body())


def test_what_servers_of_rfc_5780_say(run: Run) -> None:
    async def body() -> None:
        others = {"OTHER_ADDRESS": ("192.0.2.9", 3479), "RESPONSE_ORIGIN": ("127.0.0.1", 3478)}
        async with UdpServer(lambda request, address: [success(request, address, **others)]) as server:
            result = await stun.query(server.url)
            assert result.other_address == ("192.0.2.9", 3479)
            assert result.response_origin == ("127.0.0.1", 3478)
            assert result.software is None

    run(body())


def test_asks_from_the_address_that_is_wanted(run: Run) -> None:
    async def body() -> None:
        async with StunServer() as server:
            for transport in ("udp", "tcp"):
                result = await stun.query(server.urls[0], transport=transport, local="127.0.0.1")  # type: ignore[arg-type]
                assert result.local_address == result.mapped_address
            # 192.0.2.1 is an address that no host has (RFC 5737)
            for transport in ("udp", "tcp"):
                wrong = await failure(server.urls[0], transport=transport, local="192.0.2.1")
                assert tried(wrong.attempts) == [(transport, "unusable")]
                assert "cannot assign requested address" in str(wrong)

    run(body())


def test_attributes_and_key_go_into_the_request(run: Run) -> None:
    key = stun.IntegrityKey.short_term("secret")

    def reply(request: stun.Message, address: Address) -> list[bytes]:
        assert request.verify_integrity(key)
        assert request.get(Attribute.USERNAME) == "somebody"
        builder = MessageBuilder(Method.BINDING, MessageClass.SUCCESS, request.transaction_id)
        builder.add(Attribute.XOR_MAPPED_ADDRESS, address)
        return [builder.build(key)]

    async def body() -> None:
        async with UdpServer(reply) as server:
            result = await stun.query(server.url, attributes=[(Attribute.USERNAME, "somebody")], key=key)
            assert result.authenticated

    run(body())


def test_rtt_after_a_retransmission_is_known_where_the_server_counts(run: Run) -> None:
    """A server that knows RFC 7982 tells which send it answers; of others nobody knows."""

    async def ask(counts: bool) -> stun.QueryResult:
        def second(request: stun.Message, address: Address) -> list[bytes]:
            if len(server.requests) < 2:
                return []
            counter = request.get(Attribute.TRANSACTION_TRANSMIT_COUNTER)
            extra = {"TRANSACTION_TRANSMIT_COUNTER": (counter[0], 1)} if counts else {}
            return [success(request, address, **extra)]

        async with UdpServer(second) as server:
            return await stun.query(server.url)

    async def body() -> None:
        counted, uncounted = await asyncio.gather(ask(True), ask(False))
        assert counted.rtt is not None and counted.rtt < counted.attempts[0].took - 0.4
        assert uncounted.rtt is None

    run(body())


# --- failures


def test_a_closed_udp_port_ends_it_at_once(run: Run, closed_port: Callable[[str], Address]) -> None:
    """8489-10: an ICMP error fails the transaction, long before any timeout."""

    async def body() -> None:
        host, port = closed_port("127.0.0.1")
        wrong = await failure(f"stun:{host}:{port}", timeout=30)
        assert tried(wrong.attempts) == [("udp", "unreachable")]
        assert wrong.attempts[0].took < 15
        assert str(wrong) == f"stun:{host}:{port}: udp {host}:{port}: ICMP port unreachable"

    run(body())


def test_a_closed_tcp_port_ends_it_at_once(run: Run, closed_port: Callable[[str], Address]) -> None:
    """8489-12: a connection that cannot be made fails the request."""

    async def body() -> None:
        host, port = closed_port("127.0.0.1")
        wrong = await failure(f"stun:{host}:{port}", transport="tcp", timeout=30)
        assert tried(wrong.attempts) == [("tcp", "unreachable")]
        assert str(wrong) == f"stun:{host}:{port}: tcp {host}:{port}: connection refused"

    run(body())


def test_a_silent_server(run: Run) -> None:
    async def body() -> None:
        async with UdpServer(says_nothing) as server:
            wrong = await failure(server.url, timeout=0.7)
            assert tried(wrong.attempts) == [("udp", "timeout")]
            assert str(wrong).endswith("no answer within 0.7 s, asked 2 times")
            assert len(server.requests) == 2

    run(body())


def test_a_silent_tcp_server_and_one_that_takes_no_connection(run: Run) -> None:
    """8489-12: one write only, however long nobody answers."""
    received = bytearray()

    async def swallow(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            received.extend(data)

    async def body() -> None:
        async with tcp_server(swallow) as (host, port):
            wrong = await failure(f"stun:{host}:{port}", transport="tcp", timeout=0.8)
            assert str(wrong).endswith("no answer within 0.8 s")
            assert len(stun.parse(bytes(received)).data) == len(received)
        with black_hole("127.0.0.1") as (host, port):
            wrong = await failure(f"stun:{host}:{port}", transport="tcp", timeout=0.2)
            assert str(wrong).endswith("no connection within 0.2 s")

    run(body())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_error_codes_are_told(run: Run, transport: Any) -> None:
    """8489-26: an error response fails the request, with its code, and its words without control characters."""

    async def over_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(error(await read_request(reader), 403, "Go\x1b[31m away\n"))
        await reader.read()

    async def body() -> None:
        async with (
            UdpServer(lambda request, _: [error(request, 403, "Go\x1b[31m away\n")]) as udp,
            tcp_server(over_tcp) as (_, tcp_port),
        ):
            port = udp.port if transport == "udp" else tcp_port
            wrong = await failure(f"stun:127.0.0.1:{port}", transport=transport)
            (attempt,) = wrong.attempts
            assert (attempt.outcome, attempt.code) == ("error response", 403)
            assert attempt.detail == "error 403 Go?[31m away"
            assert attempt.response is not None

    run(body())


def test_a_server_error_that_goes_on(run: Run) -> None:
    """8489-26: 5xx is asked again; when time is over the reason is told, not just silence."""

    async def body() -> None:
        async with UdpServer(lambda request, _: [error(request, 500)]) as server:
            wrong = await failure(server.url, timeout=0.8)
            assert tried(wrong.attempts) == [("udp", "timeout")]
            assert "the server keeps answering with an error 5xx" in str(wrong)
            assert len(server.requests) > 1

    run(body())


def test_answers_that_are_none(run: Run) -> None:
    """8489-25 and what a server may send instead of an answer: each is named."""
    key = stun.IntegrityKey.short_term("secret")
    other = stun.MessageBuilder(Method.BINDING, MessageClass.REQUEST).build()

    def no_address(request: stun.Message, _: Address) -> list[bytes]:
        return [MessageBuilder(Method.BINDING, MessageClass.SUCCESS, request.transaction_id).build()]

    def rubbish(request: stun.Message, address: Address) -> list[bytes]:
        return [b"hello", success(request, address)[:-3], success(stun.parse(other), address)]

    async def body() -> None:
        async with UdpServer(no_address) as server:
            wrong = await failure(server.url)
            assert wrong.attempts[0].outcome == "bad response"
            assert "without a mapped address" in str(wrong)
        async with UdpServer(rubbish) as server:
            wrong = await failure(server.url, timeout=0.5)
            assert wrong.attempts[0].outcome == "timeout"
            for hint in ("not STUN", "malformed", "answers to other requests"):
                assert hint in str(wrong)
        async with UdpServer(answers) as server:  # nobody signed it
            wrong = await failure(server.url, key=key, timeout=0.5)
            assert wrong.attempts[0].outcome == "integrity violated"
            assert "without the right integrity" in str(wrong)

    run(body())


def test_an_answer_from_another_address_is_none(run: Run) -> None:
    async def body() -> None:
        async with UdpServer(says_nothing) as other:

            def elsewhere(request: stun.Message, address: Address) -> list[bytes]:
                other.endpoint.send(success(request, address), address)
                return []

            async with UdpServer(elsewhere) as server:
                wrong = await failure(server.url, timeout=0.5)
                assert "answers came from another address" in str(wrong)

    run(body())


def test_connections_that_break(run: Run) -> None:
    """8489-12: reset, closed, or with something else than STUN in it: the request fails at once."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.close()

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    async def body() -> None:
        for handle, reason in (
            (close, "the server closed the connection"),
            (reset, "connection reset by peer"),
            (http, "the server sent something that is not STUN"),
        ):
            async with tcp_server(handle) as (host, port):
                wrong = await failure(f"stun:{host}:{port}", transport="tcp", timeout=30)
                assert str(wrong).endswith(reason)
                assert tried(wrong.attempts) == [("tcp", "closed")]
                assert wrong.attempts[0].took < 15

    run(body())


def test_wrong_arguments(run: Run) -> None:
    """8489-27, 7350-3: what cannot be asked for is refused before anything is sent."""

    async def body() -> None:
        for wrong in ("stuns:192.0.2.1", "http://example.org", "stun:", "stun:host?transport=udp"):
            with pytest.raises(ParseError):
                await stun.query(wrong)
        for options in (
            {"family": 5},
            {"timeout": 0},
            {"transport": "sctp"},
            {"local": "localhost"},
            {"local": "127.0.0.1", "family": 6},
            {"attributes": [(Attribute.USERNAME, "x" * 600)]},
            {
                "key": stun.IntegrityKey.short_term("x"),
                "credentials": stun.LongTermCredentials("u", "p"),
            },
        ):
            with pytest.raises(ValueError):  # noqa: PT011 - each has words of its own
                await stun.query("stun:127.0.0.1:1", **options)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await stun.query(5)  # type: ignore[arg-type]
        for url, transport, reason in (
            ("stun:127.0.0.1", "tls", "a stun: URI does not run over tls"),
            ("turns:example.org", "udp", "a turns: URI does not run over udp"),
            ("turn:example.org?transport=sctp", None, "the transport 'sctp' is not known"),
            ("turn:example.org?transport=tcp", "udp", "tcp is not among the transports to use"),
            ("turn:127.0.0.1", "tls", "an address needs server_hostname"),
        ):
            refused = await failure(url, transport=transport)
            assert reason in str(refused)
            assert refused.attempts == ()
        unverifiable = ServerUrl("stuns", "127.0.0.1", 1, "tcp")
        assert "an address needs server_hostname" in str(await failure(unverifiable))
        ipv4_only = await failure("stun:127.0.0.1:1", family=6)
        assert "the address is not an IPv6 address" in str(ipv4_only)

    run(body())


def test_cancelling_leaves_nothing_behind(run: Run) -> None:
    async def body() -> None:
        async with UdpServer(says_nothing) as server:
            for options in (
                {},
                {"transport": "tcp", "server": "tcp"},
                {"resolver": Names(), "server": "name"},
            ):
                with black_hole("127.0.0.1") as (host, port):
                    kind = options.pop("server", "")  # type: ignore[call-overload]
                    silent = Names(records={"SRV _stun._udp.silent.test": None})
                    url = {"tcp": f"stun:{host}:{port}", "name": "stun:silent.test"}.get(kind, server.url)
                    options = {**options, "resolver": silent}
                    asking = asyncio.ensure_future(stun.query(url, **options))
                    await asyncio.sleep(0.05)
                    asking.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await asking

    run(body())


# --- credentials


class Guarded:
    """A server that answers those who know the password alone (RFC 8489 9.2)."""

    def __init__(self, username: str = "user", password: str = "pass") -> None:
        self.key = stun.IntegrityKey.long_term(username, "the realm", password)

    def __call__(self, request: stun.Message, address: Address) -> list[bytes]:
        if not request.has_integrity or not request.verify_integrity(self.key):
            return [error(request, 401, "Unauthenticated", REALM="the realm", NONCE="n1")]
        builder = MessageBuilder(Method.BINDING, MessageClass.SUCCESS, request.transaction_id)
        builder.add(Attribute.XOR_MAPPED_ADDRESS, address)
        return [builder.build(self.key)]


def test_credentials_are_used_when_the_server_asks(run: Run) -> None:
    """8489-40, 8489-50: nothing of them goes out before; then the answer is believed only when it is signed."""

    async def body() -> None:
        async with UdpServer(Guarded()) as server:
            credentials = stun.LongTermCredentials("user", "pass")
            result = await stun.query(server.url, credentials=credentials)
            assert (result.realm, result.authenticated) == ("the realm", True)
            assert [request.has_integrity for request in server.requests] == [False, True]
            by_server = {"urls": server.url, "username": "user", "credential": "pass"}
            assert (await stun.query(by_server)).authenticated
            by_function = {"urls": server.url, "username": "user", "credential": lambda server: "pass"}
            assert (await stun.query(by_function)).authenticated

            nobody = await failure(server.url)
            assert (nobody.attempts[0].outcome, nobody.attempts[0].code) == ("unauthenticated", 401)
            wrong = await failure(server.url, credentials=stun.LongTermCredentials("user", "guess"))
            assert wrong.attempts[0].outcome == "unauthenticated"
            assert wrong.attempts[0].code == 401

    run(body())


def redirecting(key: stun.IntegrityKey, alternate: Address) -> Reply:
    """A server that sends those who know the password elsewhere, with a proof that it may (RFC 8489 10)."""

    def reply(request: stun.Message, address: Address) -> list[bytes]:
        if not request.has_integrity:
            return [error(request, 401, REALM="the realm", NONCE="n1")]
        builder = MessageBuilder(Method.BINDING, MessageClass.ERROR, request.transaction_id)
        builder.add(Attribute.ERROR_CODE, (300, "Try Alternate"))
        builder.add(Attribute.ALTERNATE_SERVER, alternate)
        return [builder.build(key)]

    return reply


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_redirection_is_followed_over_the_same_transport(
    run: Run, transport: Any, closed_port: Callable[[str], Address]
) -> None:
    """8489-56: with the same credentials; the result names who answered in the end."""
    guarded = Guarded()
    credentials = stun.LongTermCredentials("user", "pass")

    def over_tcp(reply: Reply) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                for answer in reply(await read_request(reader), writer.get_extra_info("peername")[:2]):
                    writer.write(answer)

        return handle

    async def body() -> None:
        async with UdpServer(guarded) as udp_last, tcp_server(over_tcp(guarded)) as tcp_last:
            last = udp_last.address if transport == "udp" else tcp_last
            for alternate in (last, closed_port("127.0.0.1")):
                first = redirecting(guarded.key, alternate)
                async with UdpServer(first) as udp, tcp_server(over_tcp(first)) as tcp:
                    port = udp.port if transport == "udp" else tcp[1]
                    asking = stun.query(
                        f"stun:127.0.0.1:{port}", transport=transport, credentials=credentials
                    )
                    if alternate == last:
                        result = await asking
                        assert result.server == last
                        assert result.authenticated
                        assert result.local_address == result.mapped_address
                        continue
                    with pytest.raises(StunError) as caught:
                        await asking
                    assert caught.value.attempts[0].outcome == "unreachable"

    run(body())


# --- names


def test_a_name_with_a_port_needs_addresses_alone(run: Run) -> None:
    """8489-28, 8489-29: A and AAAA, both asked, and no SRV records."""

    async def body() -> None:
        async with UdpServer(answers) as server:
            names = Names({"stun.test": [("127.0.0.1", 0)]})
            result = await stun.query(f"stun:stun.test:{server.port}", resolver=names)
            assert result.server == server.address
            assert names.asked == [f"A AAAA stun.test:{server.port}"]
            assert tried(result.attempts) == [("dns", "ok"), ("udp", "ok")]
            assert str(result.attempts[0]) == "dns A and AAAA stun.test: 127.0.0.1"

            names = Names({"stun.test": [("127.0.0.1", 0)]})
            await stun.query(f"stun:stun.test:{server.port}", resolver=names, family=4)
            await stun.query(f"stun:127.0.0.1:{server.port}", resolver=names)
            assert names.asked == [f"A stun.test:{server.port}"]

    run(body())


def test_srv_records_lead_to_the_server_and_the_next_one_when_it_is_silent(run: Run) -> None:
    """8489-28: priorities, the port of the record, and on a timeout the next server."""

    async def body() -> None:
        async with UdpServer(says_nothing) as silent, UdpServer(answers) as server:
            names = Names(
                {"a.test": [("127.0.0.1", 0)], "b.test": [("127.0.0.1", 0)]},
                {
                    "SRV _stun._udp.example.test": [
                        SrvRecord(20, 0, server.port, "b.test."),
                        SrvRecord(10, 0, silent.port, "a.test."),
                    ]
                },
            )
            result = await stun.query("stun:example.test", resolver=names, timeout=1.2)
            assert result.server == server.address
            assert names.asked == [
                "SRV _stun._udp.example.test",
                f"A AAAA a.test:{silent.port}",
                f"A AAAA b.test:{server.port}",
            ]
            assert tried(result.attempts) == [
                ("dns", "ok"),
                ("dns", "ok"),
                ("udp", "timeout"),
                ("dns", "ok"),
                ("udp", "ok"),
            ]
            assert str(result.attempts[0]) == "dns SRV _stun._udp.example.test: 2 records"

    run(body())


@pytest.mark.parametrize(
    ("told", "outcome", "detail"),
    [
        ((), "unresolved", "no such record"),
        (DnsError("the name servers answered with failures"), "unresolved", "answered with failures"),
        (ZeroDivisionError("oops"), "unresolved", "the resolver failed: ZeroDivisionError('oops')"),
        (None, "timeout", "no answer within"),
    ],
)
def test_without_srv_records_the_host_is_asked_at_the_default_port(
    run: Run, told: Any, outcome: str, detail: str
) -> None:
    """8489-29: whatever the reason is that there are none."""

    async def body() -> None:
        async with UdpServer(answers) as server:
            question = "SRV _stun._udp.example.test"
            names = Names({"example.test": [("127.0.0.1", server.port)]}, {question: told})
            result = await stun.query("stun:example.test", resolver=names, timeout=1.2)
            assert result.server == server.address
            assert names.asked == [question, "A AAAA example.test:3478"]
            assert (result.attempts[0].target, result.attempts[0].outcome) == (question, outcome)
            assert detail in result.attempts[0].detail

    run(body())


def test_a_resolver_that_knows_addresses_only(run: Run) -> None:
    class Plain:
        def __init__(self) -> None:
            self.resolve = Names({"example.test": [("127.0.0.1", port)]}).resolve

    async def body() -> None:
        nonlocal port
        async with UdpServer(answers) as server:
            port = server.port
            result = await stun.query("stun:example.test", resolver=Plain())
            assert result.attempts[0].outcome == "unusable"
            assert result.server == server.address

    port = 0
    run(body())


def test_a_domain_without_such_a_server(run: Run) -> None:
    """8489-28: the target "." is the end of it, and the error says so."""

    async def body() -> None:
        names = Names(records={"SRV _stun._udp.example.test": [SrvRecord(0, 0, 0, ".")]})
        wrong = await failure("stun:example.test", resolver=names)
        assert str(wrong) == "stun:example.test: its domain says that there is no such server"
        assert tried(wrong.attempts) == [("dns", "ok")]

    run(body())


def test_turn_uris_are_found_by_naptr_records(run: Run) -> None:
    """5928-3: NAPTR, then SRV; 5928-4: every query asks anew."""

    async def body() -> None:
        async with StunServer() as server:
            naptr = NaptrRecord(10, 0, "s", "RELAY:turn.udp", "", "_turn._udp.example.test.")
            names = Names(
                {"t.test": [("127.0.0.1", 0)]},
                {
                    "NAPTR example.test": [naptr],
                    "SRV _turn._udp.example.test": [SrvRecord(0, 0, server.udp_addresses[0][1], "t.test")],
                },
            )
            for _ in range(2):
                result = await stun.query("turn:example.test", resolver=names)
                assert result.server == server.udp_addresses[0]
            assert names.asked.count("NAPTR example.test") == 2
            assert len(names.asked) == 6

    run(body())


def test_names_that_do_not_resolve(run: Run) -> None:
    async def body() -> None:
        wrong = await failure("stun:nowhere.test", resolver=Names())
        assert str(wrong) == (
            "stun:nowhere.test: dns SRV _stun._udp.nowhere.test: no such record; "
            "dns A and AAAA nowhere.test: the name does not exist"
        )
        assert {attempt.outcome for attempt in wrong.attempts} == {"unresolved"}

        class Broken(Names):
            def resolve(self, *arguments: Any, **options: Any) -> Any:
                raise RuntimeError("out of order")

        wrong = await failure("stun:nowhere.test:1", resolver=Broken())
        assert "the resolver failed: RuntimeError('out of order')" in str(wrong)

        class Silent(Names):
            def resolve(self, *arguments: Any, **options: Any) -> Any:
                return asyncio.get_running_loop().call_soon(lambda: None)

        wrong = await failure("stun:nowhere.test:1", resolver=Silent(), timeout=0.1)
        assert tried(wrong.attempts) == [("dns", "timeout")]

    run(body())


def test_over_udp_all_addresses_are_asked_at_the_same_time(
    run: Run, ipv6_loopback: str, closed_port: Callable[[str], Address]
) -> None:
    """8489-29: both families in parallel, and the first answer counts."""

    async def body() -> None:
        async with (
            UdpServer(says_nothing, ipv6_loopback) as six,
            UdpServer(says_nothing) as silent,
            UdpServer(answers) as server,
        ):
            names = Names({"many.test": [six.address, silent.address, server.address]})
            result = await stun.query("stun:many.test:1", resolver=names)
            assert result.server == server.address
            udp = [attempt for attempt in result.attempts if attempt.what == "udp"]
            assert sorted(attempt.outcome for attempt in udp) == ["ok", "overtaken", "overtaken"]
            began = [attempt.began for attempt in udp]
            assert max(began) - min(began) < 0.25  # not one after the other
            assert len(six.requests) == len(silent.requests) == 1

            # what fails at once does not matter while another may answer
            names = Names({"many.test": [closed_port(ipv6_loopback), server.address]})
            assert (await stun.query("stun:many.test:1", resolver=names)).server == server.address

    run(body())


def test_a_black_hole_over_ipv6_costs_the_attempt_delay(run: Run, ipv6_loopback: str) -> None:
    """8489-29, 8305-1: IPv4 is tried 250 ms after IPv6, and the loser is given up."""

    async def body() -> None:
        with black_hole(ipv6_loopback) as six:
            async with StunServer() as server:
                four = server.tcp_addresses[0]
                names = Names({"both.test": [four, six]})
                result = await stun.query("stun:both.test:1", transport="tcp", resolver=names)
                assert result.server == four
                lost, won = (attempt for attempt in result.attempts if attempt.what == "tcp")
                assert (lost.address, lost.outcome) == (six, "overtaken")
                assert won.began - lost.began >= 0.25

    run(body())


def test_a_connection_of_no_use_lets_the_other_addresses_have_a_try(
    run: Run, closed_port: Callable[[str], Address]
) -> None:
    """8305-1: refused, then accepted and closed without an answer, then answered."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)

    async def body() -> None:
        async with StunServer() as server, tcp_server(hang_up) as useless:
            names = Names({"many.test": [closed_port("127.0.0.1"), useless, server.tcp_addresses[0]]})
            result = await stun.query("stun:many.test:1", transport="tcp", resolver=names)
            assert result.server == server.tcp_addresses[0]
            assert tried(result.attempts)[1:] == [
                ("tcp", "unreachable"),
                ("tcp", "closed"),
                ("tcp", "ok"),
            ]
            assert "the server closed the connection" in result.attempts[2].detail

    run(body())


def test_errors_name_a_few_attempts_and_keep_all(run: Run, closed_port: Callable[[str], Address]) -> None:
    async def body() -> None:
        names = Names({"many.test": [closed_port("127.0.0.1") for _ in range(9)]})
        wrong = await failure("stun:many.test:1", resolver=names)
        assert len(wrong.attempts) == 10
        assert str(wrong).endswith("; and 3 more")
        assert str(wrong).count("ICMP port unreachable") == 6

    run(body())


# --- the public names


def test_query_is_found_where_people_look_for_it() -> None:
    from fasticePy.aio.query import query
    from fasticePy.stun import query as named

    assert stun.query is named is query
    assert fasticePy.StunError is stun.StunError
    assert issubclass(StunError, fasticePy.IceError)
    with pytest.raises(AttributeError, match="no attribute 'question'"):
        stun.question  # noqa: B018

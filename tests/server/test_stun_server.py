"""The embedded STUN server over real sockets on loopback."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys

import pytest
from server_harness import (
    Address,
    ask_udp,
    connection,
    ended,
    mapped,
    needs_ipv6,
    needs_linux,
    read_message,
    request,
    run,
    udp_client,
    until,
)

from fasticePy import stun
from fasticePy.errors import StateError
from fasticePy.server import ServerLimits, StunServer, listening, wildcard
from fasticePy.server.limits import source_of
from fasticePy.server.listening import parse_listen

# -- answers


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("[::1]", marks=needs_ipv6)])
def test_tells_udp_clients_their_address(host: str) -> None:
    """8489-23: XOR-MAPPED-ADDRESS is the source address as seen, over UDP."""

    async def main() -> None:
        async with StunServer([f"{host}:0"]) as server:
            with udp_client(host.strip("[]")) as client:
                data, source = await ask_udp(client, request(), server.udp_addresses[0])
                assert mapped(data) == client.getsockname()[:2]
                assert source[:2] == server.udp_addresses[0]
        assert server.counters["answered"] == 1

    run(main)


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("[::1]", marks=needs_ipv6)])
def test_tells_tcp_clients_their_address(host: str) -> None:
    """8489-23, 8489-24: over TCP, on the connection that asked."""

    async def main() -> None:
        async with StunServer([f"{host}:0"]) as server, connection(server) as (reader, writer):
            writer.write(request())
            assert mapped(await read_message(reader)) == writer.get_extra_info("sockname")[:2]

    run(main)


@needs_linux
@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.0.2", "127.8.9.10"])
def test_wildcard_socket_answers_from_the_address_that_was_asked(asked: str) -> None:
    """8489-24: a wildcard socket and several local addresses."""

    async def main() -> None:
        async with StunServer(["0.0.0.0:0"], tcp=False) as server:
            with udp_client("127.0.0.3") as client:
                target = (asked, server.udp_addresses[0][1])
                data, source = await ask_udp(client, request(), target)
                assert source == target
                assert mapped(data) == client.getsockname()

    run(main)


@needs_ipv6
def test_ipv6_wildcard_socket_answers_from_the_address_that_was_asked() -> None:
    """8489-24: and it leaves IPv4 to another socket on the same port."""

    async def main() -> None:
        async with StunServer(["[::]:0"]) as server:
            port = server.udp_addresses[0][1]
            async with StunServer([f"0.0.0.0:{port}"]):
                with udp_client("::1") as client:
                    data, source = await ask_udp(client, request(), ("::1", port))
                    assert source[:2] == ("::1", port)
                    assert mapped(data) == client.getsockname()[:2]

    run(main)


@needs_linux
def test_wildcard_without_packet_information_listens_on_each_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """8489-24: where the system cannot tell the destination of a datagram."""
    monkeypatch.setattr(wildcard, "AVAILABLE", False)
    monkeypatch.setattr(listening, "local_addresses", lambda host: ["127.0.0.2", "127.0.0.3"])

    async def main() -> None:
        async with StunServer(["0.0.0.0:0"]) as server:
            assert [host for host, _ in server.udp_addresses] == ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
            assert server.udp_addresses == server.tcp_addresses
            for address in server.udp_addresses:
                with udp_client() as client:
                    _, source = await ask_udp(client, request(), address)
                    assert source == address

    run(main)


@needs_linux
def test_local_addresses_of_a_wildcard_socket_are_limited() -> None:
    async def main() -> None:
        limits = ServerLimits(local_addresses=2)
        async with StunServer(["0.0.0.0:0"], tcp=False, limits=limits) as server:
            port = server.udp_addresses[0][1]
            with udp_client() as client:
                for last in (1, 2, 1, 2):
                    await ask_udp(client, request(), (f"127.0.0.{last}", port))
                client.sendto(request(), ("127.0.0.3", port))
                await until(lambda: server.counters["datagram to too many local addresses"] == 1)

    run(main)


def test_several_addresses_and_udp_and_tcp_share_a_port() -> None:
    async def main() -> None:
        async with StunServer(["127.0.0.1:0", "127.0.0.1:0"]) as server:
            assert len(set(server.udp_addresses)) == 2
            assert server.udp_addresses == server.tcp_addresses
            assert server.urls == [f"stun:127.0.0.1:{port}" for _, port in server.udp_addresses]
            for address in server.udp_addresses:
                with udp_client() as client:
                    assert mapped((await ask_udp(client, request(), address))[0])

    run(main)


def test_one_transport_alone() -> None:
    async def main() -> None:
        async with StunServer(tcp=False) as server:
            assert server.tcp_addresses == ()
            assert len(server.udp_addresses) == 1
        async with StunServer(udp=False) as server:
            assert server.udp_addresses == ()
            assert len(server.tcp_addresses) == 1

    run(main)


def test_urls_of_a_wildcard_address_can_be_used() -> None:
    async def main() -> None:
        async with StunServer(["0.0.0.0:0"]) as server:
            assert server.urls
            assert not any("0.0.0.0" in url for url in server.urls)

    run(main)


def test_software_only_when_asked_for() -> None:
    async def main() -> None:
        for software in (None, "test server"):
            async with StunServer(tcp=False, software=software) as server:
                with udp_client() as client:
                    data, _ = await ask_udp(client, request(), server.udp_addresses[0])
                    assert stun.parse(data).get(stun.Attribute.SOFTWARE) == software

    run(main)


# -- streams


def test_messages_in_one_segment_and_in_single_bytes() -> None:
    """8489-13: on a STUN-only TCP port the header delimits messages."""

    async def main() -> None:
        async with StunServer() as server, connection(server) as (reader, writer):
            writer.write(request() * 3)
            for _ in range(3):
                assert mapped(await read_message(reader))
            for byte in request(SOFTWARE="one byte at a time"):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
            assert mapped(await read_message(reader))

    run(main)


def test_pipelined_requests_are_all_answered() -> None:
    """8489-14: 50 requests in one write."""

    async def main() -> None:
        async with StunServer() as server, connection(server) as (reader, writer):
            requests = [request() for _ in range(50)]
            writer.write(b"".join(requests))
            answered = {stun.parse(await read_message(reader)).transaction_id for _ in requests}
            assert answered == {stun.parse(data).transaction_id for data in requests}

    run(main)


def test_half_closed_client_gets_its_answers() -> None:
    """8489-15: the server does not close with an answer pending, and then does."""

    async def main() -> None:
        async with StunServer() as server, connection(server) as (reader, writer):
            writer.write(request() * 5)
            writer.write_eof()
            data = await reader.read()
            assert len(data) == 5 * 32
            await until(lambda: server.connections == 0)

    run(main)


def test_connection_stays_open_for_more() -> None:
    """8489-15: the server leaves the connection open to the client."""

    async def main() -> None:
        async with StunServer() as server, connection(server) as (reader, writer):
            for _ in range(3):
                writer.write(request())
                assert mapped(await read_message(reader))
                await asyncio.sleep(0.02)
            assert server.connections == 1

    run(main)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + bytes(100),
        request()[:4] + b"\0\0\0\0" + request()[8:],
        b"\0\1\xff\xff" + request()[4:],
        b"\0\1\xff\xfc" + request()[4:],
    ],
    ids=["http", "tls", "no cookie", "odd length", "too long"],
)
def test_what_is_not_stun_ends_that_connection_alone(garbage: bytes) -> None:
    async def main() -> None:
        async with (
            StunServer() as server,
            connection(server) as (reader, writer),
            connection(server) as (other_reader, other_writer),
        ):
            writer.write(request() + garbage)
            assert mapped(await read_message(reader))  # what came before is answered
            assert await ended(reader)
            other_writer.write(request())
            assert mapped(await read_message(other_reader))
            await until(lambda: server.connections == 1)
            assert sum(count for reason, count in server.counters.items() if "not STUN" in reason) == 1

    run(main)


# -- limits (security: floods, slow senders, slow readers)


def test_connections_are_limited_in_number() -> None:
    async def main() -> None:
        limits = ServerLimits(connections=2)
        async with StunServer(limits=limits) as server:
            async with connection(server), connection(server):
                await until(lambda: server.connections == 2)
                async with connection(server) as (reader, _):
                    assert await ended(reader)
                assert server.counters["connection refused: too many"] == 1
            await until(lambda: server.connections == 0)
            async with connection(server) as (reader, writer):  # there is room again
                writer.write(request())
                assert mapped(await read_message(reader))

    run(main)


@needs_linux
def test_connections_are_limited_per_source() -> None:
    async def main() -> None:
        limits = ServerLimits(connections_per_source=1)
        async with StunServer(limits=limits) as server, connection(server):
            await until(lambda: server.connections == 1)
            async with connection(server) as (reader, _):
                assert await ended(reader)
            async with connection(server, local_addr=("127.0.0.2", 0)) as (reader, writer):
                writer.write(request())
                assert mapped(await read_message(reader))
            assert server.counters["connection refused: too many from one source"] == 1

    run(main)


def test_a_source_is_an_ipv4_address_or_an_ipv6_64() -> None:
    assert source_of("192.0.2.1") != source_of("192.0.2.2")
    assert source_of("2001:db8::1") == source_of("2001:db8:0:0:ffff::1") != source_of("2001:db8:0:1::1")
    assert source_of("fe80::1%eth0") == source_of("fe80::2%eth0")


@pytest.mark.parametrize(
    ("limits", "script", "reason"),
    [
        (ServerLimits(first_message=0.05), [b""], "tcp connection without a message"),
        (ServerLimits(first_message=0.05), [request()[:10]], "tcp connection without a message"),
        (ServerLimits(message=0.05), [request() + request()[:10]], "tcp message that does not end"),
        (ServerLimits(idle=0.05), [request()], "idle tcp connection"),
    ],
)
def test_a_connection_that_does_nothing_ends(limits: ServerLimits, script: list[bytes], reason: str) -> None:
    async def main() -> None:
        async with StunServer(limits=limits) as server, connection(server) as (reader, writer):
            for data in script:
                writer.write(data)
            while not await ended(reader):
                pass
            await until(lambda: server.counters[reason] == 1)
            assert server.connections == 0

    run(main)


def test_a_message_that_drips_in_does_not_gain_time() -> None:
    """One byte now and then keeps no connection open."""

    async def main() -> None:
        limits = ServerLimits(message=0.1, idle=30.0)
        async with StunServer(limits=limits) as server, connection(server) as (reader, writer):
            writer.write(request())
            await read_message(reader)
            for byte in request(SOFTWARE="x" * 100):
                if reader.at_eof() or server.connections == 0:
                    break
                writer.write(bytes([byte]))
                await asyncio.sleep(0.01)
            await until(lambda: server.counters["tcp message that does not end"] == 1)

    run(main)


def test_a_client_that_does_not_read_is_not_served_for_ever() -> None:
    async def main() -> None:
        limits = ServerLimits(unsent_bytes=1000, stalled=0.1)
        async with StunServer(limits=limits) as server:
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect(server.tcp_addresses[0])
                client.setblocking(False)
                flood = request() * 2000
                while server.counters["tcp client that does not read"] == 0:
                    try:
                        client.send(flood)
                    except BlockingIOError:
                        pass
                    except ConnectionError:
                        break
                    await asyncio.sleep(0.005)
                await until(lambda: server.connections == 0)
                assert server.counters["tcp client that does not read"] == 1

    run(main)


def test_a_client_that_reads_slowly_gets_everything() -> None:
    async def main() -> None:
        limits = ServerLimits(unsent_bytes=1000)
        async with StunServer(limits=limits) as server, connection(server) as (reader, writer):
            requests = 3000
            writer.write(request() * requests)
            total = 0
            while total < requests * 32:
                total += len(await reader.read(1000))
            assert total == requests * 32
            assert server.counters["answered"] == requests

    run(main)


def test_many_half_messages_hold_little_and_end() -> None:
    """1000 connections in small: what an unfinished message may hold is limited, and so is its time."""

    async def main() -> None:
        limits = ServerLimits(connections_per_source=40, message_bytes=2048, first_message=0.3)
        async with StunServer(limits=limits) as server:
            writers = []
            for _ in range(60):
                _, writer = await asyncio.open_connection(*server.tcp_addresses[0])
                writer.write(b"\0\1\7\xd0" + request()[4:] + bytes(1000))
                writers.append(writer)
            await until(lambda: server.counters["tcp connection without a message"] == 40)
            assert server.counters["connection refused: too many from one source"] == 20
            assert server.connections == 0
            for writer in writers:
                writer.transport.abort()

    run(main)


# -- life


def test_close_is_idempotent_and_ends_connections() -> None:
    async def main() -> None:
        server = StunServer(["127.0.0.1:0", "0.0.0.0:0"])
        await server.close()  # before the start, too
        await server.start()
        async with connection(server) as (reader, writer):
            writer.write(request())
            await read_message(reader)
            await asyncio.gather(server.close(), server.close())
            await server.close()
            assert await ended(reader)
            assert server.connections == 0
        with pytest.raises(StateError):
            await server.start()

    run(main)


@needs_linux
def test_nothing_is_left_open() -> None:
    async def main() -> None:
        def descriptors() -> int:
            return len(os.listdir("/proc/self/fd"))

        before = descriptors()
        for _ in range(5):
            async with StunServer(["127.0.0.1:0", "0.0.0.0:0"]) as server:
                with udp_client() as client:
                    await ask_udp(client, request(), server.udp_addresses[0])
        assert descriptors() == before

    run(main)


def test_an_address_that_is_taken_is_named_and_nothing_stays_open() -> None:
    async def main() -> None:
        async with StunServer() as server:
            port = server.udp_addresses[0][1]
            second = StunServer(["127.0.0.1:0", f"127.0.0.1:{port}"])
            with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
                await second.start()
            assert second.udp_addresses == ()
            await second.close()

    run(main)


def test_a_port_that_tcp_cannot_have_is_not_taken_for_udp(monkeypatch: pytest.MonkeyPatch) -> None:
    """With port 0, UDP and TCP look on for a number that both can have."""
    original = listening.open_tcp_socket
    tried: list[int] = []

    def refuse_first(address: Address) -> socket.socket:
        tried.append(address[1])
        if len(tried) == 1:
            raise OSError(98 if sys.platform == "linux" else 48, "Address already in use")
        return original(address)

    monkeypatch.setattr(listening, "open_tcp_socket", refuse_first)
    if sys.platform == "win32":
        monkeypatch.setattr(listening, "_IN_USE", frozenset({48}))

    async def main() -> None:
        async with StunServer() as server:
            assert len(tried) == 2
            assert server.udp_addresses == server.tcp_addresses == (("127.0.0.1", tried[1]),)

    run(main)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "localhost:3478",
        "[127.0.0.1]:1",
        "::1:3478",
        "[::1]",
    ],
)
def test_addresses_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        StunServer([text])


def test_listen_addresses_are_read() -> None:
    assert parse_listen("0.0.0.0:3478") == ("0.0.0.0", 3478)
    assert parse_listen("[::1]:0") == ("::1", 0)
    assert parse_listen("[fe80::1%eth0]:7") == ("fe80::1%eth0", 7)


def test_a_server_without_address_or_transport_is_refused() -> None:
    with pytest.raises(ValueError, match="address"):
        StunServer([])
    with pytest.raises(ValueError, match="transport"):
        StunServer(udp=False, tcp=False)


def test_garbage_over_udp_is_counted_and_not_answered() -> None:
    async def main() -> None:
        async with StunServer(["127.0.0.1:0", "0.0.0.0:0"], tcp=False) as server:
            with udp_client() as client:
                for address in (server.udp_addresses[0], ("127.0.0.1", server.udp_addresses[1][1])):
                    for data in (b"", b"hello", bytes(2000), request()[:-1]):
                        client.sendto(data, address)
                    data, _ = await ask_udp(client, request(), address)
                    assert mapped(data)  # the only answer
            assert server.counters["answered"] == 2
            assert server.counters["malformed"] == 8

    run(main)

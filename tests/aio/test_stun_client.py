"""The STUN client on real sockets: many requests on one connection, and connections that end."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fasticePy import stun
from fasticePy.aio.host import source_towards
from fasticePy.aio.stun_client import StunClient
from fasticePy.aio.stun_stream import StunStream, connect_tcp, open_stream
from fasticePy.machine import Address
from fasticePy.stun import Attribute, MessageBuilder, MessageClass, Method, RequestFailed, ResponseReceived

Run = Callable[..., Any]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
) -> AsyncIterator[tuple[StunClient, StunStream]]:
    """A client with a connection to a server that runs `handle`."""
    tasks = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        try:
            await handle(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address: Address = server.sockets[0].getsockname()[:2]
    client = StunClient()
    stream = StunStream(client.reserve(), address, client)
    client.attach(stream.id, stream)
    try:
        await open_stream(await connect_tcp(None, address), stream)
        yield client, stream
    finally:
        await stream.close()
        await client.close()
        server.close()
        for task in tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*filter(None, tasks), return_exceptions=True)
        await asyncio.sleep(0.01)


async def read_request(reader: asyncio.StreamReader) -> stun.Message:
    header = await reader.readexactly(20)
    return stun.parse(header + await reader.readexactly(int.from_bytes(header[2:4], "big")))


def success(request: stun.Message, port: int) -> bytes:
    builder = MessageBuilder(Method.BINDING, MessageClass.SUCCESS, request.transaction_id)
    builder.add(Attribute.XOR_MAPPED_ADDRESS, ("192.0.2.1", port))
    return builder.build()


def test_pipelined_requests_and_answers_in_any_order(run: Run) -> None:
    """8489-14: the client does not wait for one answer before the next request; 8489-7: 10 at a time, the others queue;
    8489-13: answers come in one segment and in single bytes."""
    orders: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shuffle = random.Random(8489).shuffle
        for batch in range(5):
            requests = [await read_request(reader) for _ in range(10)]
            shuffle(requests)
            stream = b"".join(success(each, each.get(Attribute.PRIORITY)) for each in requests)
            orders.extend(each.get(Attribute.PRIORITY) for each in requests)
            step = 1 if batch % 2 else len(stream)
            for start in range(0, len(stream), step):
                writer.write(stream[start : start + step])
                if batch % 2:
                    await asyncio.sleep(0)
        await reader.read()

    async def body() -> None:
        async with connected(handle) as (client, stream):
            asked = [
                client.request(
                    stream.id, stream.remote, attributes=[(Attribute.PRIORITY, number)], stream=True
                )
                for number in range(1, 51)
            ]
            for number, result in enumerate(await asyncio.gather(*asked), 1):
                assert isinstance(result, ResponseReceived)
                assert result.message.get(Attribute.XOR_MAPPED_ADDRESS) == ("192.0.2.1", number)
                assert result.sends == 1
        assert orders != sorted(orders)
        assert sorted(orders) == list(range(1, 51))

    run(body())


def test_a_reset_fails_all_that_is_pending(run: Run) -> None:
    """8489-12: three requests wait for their answers, and the connection is reset."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            await read_request(reader)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async def body() -> None:
        async with connected(handle) as (client, stream):
            results = await asyncio.gather(
                *(client.request(stream.id, stream.remote, stream=True) for _ in range(3))
            )
            for result in results:
                assert isinstance(result, RequestFailed)
                assert (result.reason, result.detail) == ("unreachable", "connection reset by peer")
            # and what is asked on it afterwards fails at once
            result = await client.request(stream.id, stream.remote, stream=True)
            assert isinstance(result, RequestFailed)
            assert result.detail == "connection reset by peer"

    run(body())


def test_a_server_that_does_not_read_is_given_up(run: Run) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()
        await asyncio.sleep(30)

    async def body() -> None:
        async with connected(handle) as (client, stream):
            asking = asyncio.ensure_future(client.request(stream.id, stream.remote, stream=True))
            await asyncio.sleep(0)
            sends = 0
            while stream.send(bytes(65536), stream.remote):
                sends += 1
            assert 0 < sends < 1000  # what the kernel takes, and not much more
            result = await asking
            assert isinstance(result, RequestFailed)
            assert result.detail == "the server does not read"

    run(body())


def test_cancelling_and_closing(run: Run) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def body() -> None:
        async with connected(handle) as (client, stream):
            first = asyncio.ensure_future(client.request(stream.id, stream.remote, stream=True))
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert client.agent.next_timer() is None
            second = asyncio.ensure_future(client.request(stream.id, stream.remote, stream=True))
            await asyncio.sleep(0)
            await client.close()
            await client.close()
            result = await second
            assert isinstance(result, RequestFailed)
            assert result.reason == "closed"
            third = await client.request(stream.id, stream.remote, stream=True)
            assert isinstance(third, RequestFailed)

    run(body())


def test_the_source_towards_an_address() -> None:
    assert source_towards("127.0.0.1") == "127.0.0.1"
    assert source_towards("example.org") is None
    assert source_towards("fe80::1%nowhere0") is None

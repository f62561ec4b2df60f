#!/usr/bin/env python3
"""The peer protocol (README.md) on top of aioice, which has no restart, lite, ICE-TCP or mDNS candidates of its own."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import ssl
import sys
from typing import Any
from urllib.parse import parse_qs

import aioice.ice
from aioice import Candidate, Connection, ConnectionClosed, TransportPolicy

FEATURES = ["trickle", "relay", "srflx", "turn-tcp", "turn-tls", "ipv6", "consent"]


def emit(**event: Any) -> None:
    """Print one event."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def parse_url(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and transport."""
    scheme, rest = url.split(":", 1)
    rest, _, query = rest.partition("?")
    transport = parse_qs(query).get("transport", ["tcp" if scheme.endswith("s") else "udp"])[0]
    host, _, port = rest.rpartition(":")
    return scheme, host.strip("[]"), int(port), transport


def server_options(command: dict[str, Any]) -> dict[str, Any]:
    """The options of Connection for the STUN and TURN servers."""
    options: dict[str, Any] = {}
    for entry in command.get("urls") or []:
        scheme, host, port, transport = parse_url(entry["url"])
        if scheme == "stun":
            options["stun_server"] = (host, port)
            continue
        options.update(
            turn_server=(host, port),
            turn_username=entry.get("username"),
            turn_password=entry.get("credential"),
            turn_transport=transport,
            turn_ssl=tls_context(command) if scheme == "turns" else False,
        )
    return options


def tls_context(command: dict[str, Any]) -> ssl.SSLContext:
    """How certificates of `turns:` are verified."""
    context = ssl.create_default_context()
    if command.get("insecure_tls", True):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def restrict_addresses(command: dict[str, Any]) -> None:
    """aioice has no option for which addresses it gathers: replace the function that lists them."""
    original = aioice.ice.get_host_addresses
    allowed, loopback = command.get("ips"), command.get("include_loopback", False)

    def addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        found = original(use_ipv4, use_ipv6)
        if loopback:
            found += (["127.0.0.1"] if use_ipv4 else []) + (["::1"] if use_ipv6 else [])
        return [address for address in found if not allowed or address in allowed]

    aioice.ice.get_host_addresses = addresses


class Peer:
    """One aioice connection."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.closing = False
        self.tasks: list[asyncio.Task[None]] = []
        self.gathered = asyncio.Event()
        self.echo = True

    async def start(self, command: dict[str, Any]) -> None:
        networks = command.get("network_types") or ["udp4"]
        types = command.get("candidate_types") or ["host", "srflx", "relay"]
        restrict_addresses(command)
        self.echo = command.get("echo", True)
        self.connection = connection = Connection(
            ice_controlling=command["role"] == "controlling",
            use_ipv4="udp4" in networks,
            use_ipv6="udp6" in networks,
            transport_policy=TransportPolicy.RELAY if types == ["relay"] else TransportPolicy.ALL,
            local_username=command.get("ufrag"),
            local_password=command.get("pwd"),
            **server_options(command),
        )
        emit(event="local", ufrag=connection.local_username, pwd=connection.local_password)
        emit(event="state", state="new")
        await connection.gather_candidates()
        for candidate in connection.local_candidates:
            if candidate.type in types:
                emit(event="candidate", sdp="candidate:" + candidate.to_sdp())
        emit(event="gathering_done")
        self.gathered.set()

    async def connect(self, connection: Connection) -> None:
        await self.gathered.wait()
        emit(event="state", state="checking")
        try:
            await connection.connect()
        except ConnectionError as error:
            emit(event="error", message=str(error))
            emit(event="state", state="failed")
            return
        pair = connection._nominated[1]
        emit(event="state", state="connected")
        emit(
            event="selected",
            local="candidate:" + pair.local_candidate.to_sdp(),
            remote="candidate:" + pair.remote_candidate.to_sdp(),
        )
        self.tasks.append(asyncio.create_task(self.read(connection)))
        if isinstance(await connection.get_event(), ConnectionClosed) and not self.closing:
            emit(event="state", state="failed")

    async def read(self, connection: Connection) -> None:
        while True:
            try:
                data = await connection.recv()
            except ConnectionError:
                return
            emit(event="data", data=data.decode("utf-8", "replace"), hex=data.hex())
            if self.echo and not data.startswith(b"echo:"):
                await connection.send(b"echo:" + data)

    async def handle(self, command: dict[str, Any]) -> None:
        name = command.get("cmd")
        if name == "start":
            await self.start(command)
            return
        connection = self.connection
        if connection is None:
            raise RuntimeError(f"{name} before start")
        if name == "remote":
            connection.remote_username, connection.remote_password = command["ufrag"], command["pwd"]
            connection.remote_is_lite = command.get("lite", False)
            self.tasks.append(asyncio.create_task(self.connect(connection)))
        elif name == "remote_candidate":
            line = command["sdp"].removeprefix("a=").removeprefix("candidate:")
            await connection.add_remote_candidate(Candidate.from_sdp(line) if line else None)
        elif name == "send":
            data = bytes.fromhex(command["hex"]) if command.get("hex") else command["data"].encode()
            await connection.send(data)
            emit(event="sent", n=len(data))
        elif name != "remote_gathering_done":
            raise RuntimeError(f"unknown cmd {name}")


async def main() -> int:
    """Do commands until the end of input."""
    emit(event="ready", peer="aioice", version=importlib.metadata.version("aioice"), features=FEATURES)
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    peer = Peer()
    while line := await reader.readline():
        command: dict[str, Any] = {}
        try:
            command = json.loads(line)
            if command.get("cmd") == "close":
                break
            await peer.handle(command)
        except Exception as error:  # noqa: BLE001 - whatever aioice raises is an event of the protocol
            fatal = command.get("cmd") == "start"
            emit(event="error", message=f"{type(error).__name__}: {error}", fatal=fatal)
            if fatal:
                return 1
    if peer.connection is not None:
        peer.closing = True
        await peer.connection.close()
    emit(event="closed")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

"""Our STUN client against coturn and pion, and their clients against our server, over UDP, TCP, TLS and DTLS."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fasticePy import StunError, stun
from fasticePy.machine import Address
from fasticePy.stun.uri import ServerUrl

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

TRANSPORTS = ["udp", "tcp", "tls", "dtls"]


@dataclass(frozen=True)
class Server:
    """A server on loopback: where it is by transport, and the certificate authority that its clients trust."""

    addresses: dict[str, Address]
    ca: Path
    name: str = "localhost"

    def query(self, transport: Any, **options: Any) -> stun.QueryResult:
        """Ask it by our client."""
        secure = transport in ("tls", "dtls")
        host, port = self.addresses[transport]
        url = ServerUrl("stuns" if secure else "stun", host, port, "tcp" if secure else "udp")
        if secure:
            options.setdefault("ssl_context", ssl.create_default_context(cafile=str(self.ca)))
            options.setdefault("server_hostname", self.name)
        return asyncio.run(stun.query(url, transport=transport, timeout=10, **options))


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that was free a moment ago, and the next one too: coturn takes both for RFC 5780."""
    for _ in range(100):
        with socket.socket(socket.AF_INET, kind) as first, socket.socket(socket.AF_INET, kind) as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise AssertionError("no two free ports in a row")


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


@contextmanager
def coturn(folder: Path, authority: Any, commands: Any, *options: str) -> Iterator[Server]:
    """coturn with a configuration of its own."""
    program = commands.installed("turnserver", "coturn")
    certificate = authority.issue("localhost", rsa=True)
    plain, secure = free_port(), free_port()
    lines = [
        "listening-ip=127.0.0.1",
        "listening-ip=127.0.0.2",  # a second address makes it a server of RFC 5780
        f"listening-port={plain}",
        f"tls-listening-port={secure}",
        f"cert={certificate.cert}",
        f"pkey={certificate.key}",
        "realm=coturn.test",
        "user=user:pass",
        "lt-cred-mech",
        "no-cli",
        f"pidfile={folder / 'pid'}",
        f"userdb={folder / 'db'}",
        "log-file=stdout",
        "simple-log",
        *options,
    ]
    config = folder / "turnserver.conf"
    config.write_text("\n".join(lines) + "\n")
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([program, "-c", str(config)], stdout=output, stderr=output)
    try:
        server = Server(
            {
                "udp": ("127.0.0.1", plain),
                "tcp": ("127.0.0.1", plain),
                "tls": ("127.0.0.1", secure),
                "dtls": ("127.0.0.1", secure),
            },
            authority.path,
        )
        assert wait_for(lambda: process.poll() is None and _answers(server)), log.read_text(errors="replace")
        yield server
    finally:
        process.terminate()
        process.wait(10)


def _answers(server: Server) -> bool:
    """Whether it is there: an error is an answer too."""
    try:
        server.query("tcp", credentials=stun.LongTermCredentials("user", "pass"))
    except StunError:
        return False
    return True


@contextmanager
def pion(folder: Path, commands: Any) -> Iterator[Server]:
    """pion's server; its certificate is signed by itself."""
    program = commands.build("pion_turn")
    ca = folder / "pion.pem"
    process = subprocess.Popen(
        [str(program), "server", "-dtls", "0", "-cert-out", str(ca)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        addresses = {}
        for transport in TRANSPORTS:
            host, _, port = ready[transport].rpartition(":")
            addresses[transport] = (host, int(port))
        yield Server(addresses, ca)
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, authority: Any, commands: Any
) -> Iterator[Callable[[str], Server]]:
    """`servers(name)` is coturn or pion, started once."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        started: dict[str, Server] = {}

        def start(name: str) -> Server:
            if name not in started:
                folder = tmp_path_factory.mktemp(name)
                making = coturn(folder, authority, commands) if name == "coturn" else pion(folder, commands)
                started[name] = stack.enter_context(making)
            return started[name]

        yield start


# --- our client


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", ["coturn", "pion"])
def test_our_client_learns_its_address(servers: Callable[[str], Server], name: str, transport: str) -> None:
    """8489-23, 8489-17, 7350-1: with other implementations too, certificates verified."""
    server = servers(name)
    result = server.query(transport)
    assert result.mapped_address == result.local_address
    assert (result.server, result.transport) == (server.addresses[transport], transport)
    assert result.rtt is not None
    if name == "coturn":
        assert result.software is not None and "Coturn" in result.software
        if transport == "udp":
            assert result.other_address is not None


@pytest.mark.parametrize("transport", ["tls", "dtls"])
@pytest.mark.parametrize("name", ["coturn", "pion"])
def test_our_client_refuses_who_is_somebody_else(
    servers: Callable[[str], Server], name: str, transport: str
) -> None:
    """8489-17, 7350-1: the name of the certificate is another one, or nobody vouches for it."""
    server = servers(name)
    for options in ({"server_hostname": "example.org"}, {"ssl_context": None}):
        with pytest.raises(StunError) as caught:
            server.query(transport, **options)
        assert caught.value.attempts[-1].outcome == "certificate"


@pytest.mark.parametrize("name", ["coturn", "pion"])
def test_probe_tells_how_a_server_answers(servers: Callable[[str], Server], name: str) -> None:
    server = servers(name)
    url = f"stun:127.0.0.1:{server.addresses['udp'][1]}"
    tcp = f"turn:127.0.0.1:{server.addresses['tcp'][1]}?transport=tcp"
    tls = f"stuns:127.0.0.1:{server.addresses['tls'][1]}"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "fasticePy", "probe", url, tcp, tls, "--json"),
            *("--ca-file", str(server.ca), "--server-name", server.name),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *found, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert (last["ok"], last["failed"]) == (3, 0)
    for report, transport in zip(found, ("udp", "tcp", "tls"), strict=True):
        wanted = next(check for check in report["checks"] if check["wanted"])
        assert (wanted["transport"], wanted["status"]) == (transport, "ok")
        assert wanted["mapped"] == wanted["local"]


def test_coturn_that_asks_for_credentials(tmp_path: Path, authority: Any, commands: Any) -> None:
    """8489-50: its challenge is answered, over UDP and TCP."""
    right, wrong = stun.LongTermCredentials("user", "pass"), stun.LongTermCredentials("user", "guess")
    with coturn(tmp_path, authority, commands, "secure-stun") as server:
        for transport in ("udp", "tcp"):
            result = server.query(transport, credentials=right)
            assert (result.realm, result.authenticated) == ("coturn.test", True)
            for credentials in (None, wrong):
                with pytest.raises(StunError) as caught:
                    server.query(transport, credentials=credentials)
                attempt = caught.value.attempts[-1]
                assert (attempt.outcome, attempt.code) == ("unauthenticated", 401)


# --- our server


@pytest.fixture(scope="module")
def our_server(authority: Any) -> Iterator[dict[str, Any]]:
    """`fasticepy serve` with a certificate; gives what it says when it is ready."""
    certificate = authority.issue("localhost", rsa=True)
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "fasticePy", "serve", "--listen", "127.0.0.1:0", "--json", "--dtls"),
            *("--cert", str(certificate.cert), "--key", str(certificate.key)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        ready = server.stdout.readline()
        assert ready, "fasticepy serve ended at once"
        yield json.loads(ready)
    finally:
        server.terminate()
        server.communicate(timeout=10)
    assert server.returncode == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_pions_client_learns_its_address_from_our_server(
    our_server: dict[str, Any], commands: Any, authority: Any, transport: str
) -> None:
    """8489-23: over UDP and TCP, and TLS and DTLS on the same port, with a certificate that pion verifies."""
    arguments = ["client", "-binding", "-transport", transport, "-server", our_server["udp"]]
    if transport in ("tls", "dtls"):
        arguments += ["-ca", str(authority.path), "-sni", "localhost"]
    done = subprocess.run(
        [str(commands.build("pion_turn")), *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    binding, result = [json.loads(line) for line in done.stdout.splitlines()]
    assert binding["mapped"] == binding["client"]
    assert result["ok"]


def test_coturns_client_learns_its_address_from_our_server(our_server: dict[str, Any], commands: Any) -> None:
    program = commands.installed("turnutils_stunclient", "coturn")
    host, _, port = our_server["udp"].rpartition(":")
    done = subprocess.run(
        [program, "-p", port, host], capture_output=True, text=True, timeout=60, check=False
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert re.search(r"UDP reflexive addr: 127\.0\.0\.1:\d+", output), output

"""`fasticepy probe` against servers that run in a thread of their own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from fasticePy.cli import main, probe, probing
from fasticePy.cli.command import ExitCode
from fasticePy.server import StunServer
from fasticePy.stun.discovery import SrvRecord
from fasticePy.stun.uri import parse_server_url


@contextmanager
def serving(*listen: str, **options: Any) -> Iterator[StunServer]:
    """A server that answers while the command runs in this thread."""
    ready: list[StunServer] = []
    begun, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with StunServer(listen or ("127.0.0.1:0",), **options) as server:
            ready.append(server)
            begun.set()
            while not over.is_set():  # noqa: ASYNC110 - the event is another thread's
                await asyncio.sleep(0.005)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert begun.wait(10)
        yield ready[0]
    finally:
        over.set()
        thread.join(10)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the URLs do not ask for is not waited for."""
    monkeypatch.setattr(probing, "UNWANTED_TIMEOUT", 0.3)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`run(*arguments)` gives the exit code and what was printed."""

    def run(*arguments: str) -> tuple[int, str]:
        code = main(["probe", *arguments])
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the resolver knows: addresses by host, SRV records by name; no name server is asked."""
    known: dict[str, Any] = {}

    class Names:
        def resolve(self, host: str, port: int, handler: Any, *, ipv4: bool, ipv6: bool) -> Any:
            loop = asyncio.get_running_loop()
            wanted = [each for each in known.get(host, ()) if (ipv6 if ":" in each else ipv4)]
            if not wanted:
                return loop.call_soon(handler.lookup_failed, "the name does not exist")
            return loop.call_soon(handler.addresses_found, [(each, port) for each in wanted], True)

        async def records(self, question: Any) -> Sequence[Any]:
            return known.get(question.name, ())  # type: ignore[no-any-return]

    monkeypatch.setattr(probing, "DnsResolver", Names)
    return known


def events(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_a_server_that_works(run: Any) -> None:
    with serving(software="tester\x1b[31m 1.0") as server:
        url = server.urls[0]
        code, output = run(url, "--json")
        assert code == ExitCode.OK
        found, done = events(output)
        assert (found["event"], found["url"], found["status"]) == ("server", url, "ok")
        assert found["software"] == "tester\x1b[31m 1.0"
        assert found["resolution"] == []
        udp, tcp = found["checks"]
        assert (udp["transport"], udp["wanted"], udp["family"], udp["status"]) == ("udp", True, 4, "ok")
        assert (tcp["transport"], tcp["wanted"], tcp["status"]) == ("tcp", False, "ok")
        for check in (udp, tcp):
            assert check["server"] == url.removeprefix("stun:")
            assert check["mapped"] == check["local"]
            assert check["rtt_ms"] >= 0
            assert check["realm"] is None
        assert (done["event"], done["ok"], done["degraded"], done["failed"]) == ("done", 1, 0, 0)

        code, output = run(url.removeprefix("stun:"))  # the scheme may be left out
        assert code == ExitCode.OK
        lines = [line.split() for line in output.splitlines() if line.strip()]
        assert lines[0] == [url]
        assert lines[1][:4] == ["udp", "v4", url.removeprefix("stun:"), "ok"]
        assert "you are 127.0.0.1:" in output
        assert "behind a NAT" not in output
        assert "tester?[31m 1.0" in output  # nothing that a terminal would obey
        assert "=> ok: answers by udp and tcp over IPv4" in output
        assert output.splitlines()[-1].startswith(" finished in ")


def test_a_name_with_both_families(run: Any, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        port = server.udp_addresses[0][1]
        names["stun.test"] = ["127.0.0.1", "2001:db8::1"]
        names["_stun._udp.stun.test"] = [SrvRecord(0, 0, port, "stun.test")]
        real = probing.source_towards
        monkeypatch.setattr(probing, "source_towards", lambda host: None if ":" in host else real(host))
        code, output = run("stun:stun.test", "--json")
        found = events(output)[0]
        assert (code, found["status"]) == (ExitCode.OK, "ok")
        questions = {each["question"]: each for each in found["resolution"]}
        assert questions["SRV _stun._udp.stun.test"]["answer"] == "1 record"
        assert questions["A and AAAA stun.test"]["answer"] == "127.0.0.1, 2001:db8::1"
        assert not questions["SRV _stuns._tcp.stun.test"]["ok"]
        four, six = (check for check in found["checks"] if check["transport"] == "udp")
        assert (four["status"], four["server"]) == ("ok", f"127.0.0.1:{port}")
        assert (six["status"], six["family"]) == ("skipped", 6)
        assert "no way to IPv6" in six["detail"]
        others = {check["transport"]: check for check in found["checks"] if check["family"] == 4}
        assert set(others) == {"udp", "tcp", "tls", "dtls"}
        assert others["tls"]["server"] == "127.0.0.1:5349"

        _, text = run("stun:stun.test")
        assert "SRV _stun._udp.stun.test" in text
        assert "none" in text
        assert "skip" in text


def test_one_family_alone(run: Any, names: dict[str, Any]) -> None:
    with serving() as server:
        names["stun.test"] = ["127.0.0.1", "2001:db8::1"]
        port = server.udp_addresses[0][1]
        code, output = run(f"turn:stun.test:{port}?transport=tcp", "-4", "--json")
        found = events(output)[0]
        assert code == ExitCode.OK
        assert [each["question"] for each in found["resolution"]] == ["A stun.test"]
        (check,) = found["checks"]  # a URL that names its transport is about that alone
        assert (check["transport"], check["wanted"], check["family"]) == ("tcp", True, 4)
        code, output = run(f"127.0.0.1:{port}", "-6")
        assert code == ExitCode.FAILED
        assert "=> failed: there is no IPv6 address" in output


def test_credentials(run: Any) -> None:
    with serving(users={"user": "pass"}, realm="the realm") as server:
        url = server.urls[0]
        code, output = run(url)
        assert code == ExitCode.DEGRADED
        assert "=> degraded: it answers, but wants --user and --password" in output
        assert "realm the realm" in output
        assert "401" in output
        code, output = run(url, "--user", "user", "--password", "guess", "--json")
        assert code == ExitCode.DEGRADED
        check = events(output)[0]["checks"][0]
        assert (check["status"], check["realm"], check["code"]) == ("asks for credentials", "the realm", 401)
        code, output = run(url, "--user", "user", "--password", "guess")
        assert "it answers, but refuses these credentials" in output
        code, output = run(url, "--user", "user", "--password", "pass", "--json")
        check = events(output)[0]["checks"][0]
        assert (code, check["realm"], check["authenticated"]) == (ExitCode.OK, "the realm", True)
        _, output = run(url, "--user", "user", "--password", "pass")
        assert "realm the realm  ok" in " ".join(output.split("\n")).replace("   ", "  ")


def test_servers_that_do_not_work(run: Any, names: dict[str, Any]) -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        code, output = run(f"127.0.0.1:{port}", "--timeout", "0.2", "--json")
        found, done = events(output)
        assert (code, found["status"], done["failed"]) == (ExitCode.FAILED, "failed", 1)
        udp, tcp = found["checks"]
        assert (udp["reason"], tcp["reason"]) == ("timeout", "unreachable")
        assert tcp["detail"] == "connection refused"
    code, output = run(f"127.0.0.1:{port}")
    assert code == ExitCode.FAILED
    assert "FAILED" in output
    assert "=> failed: ICMP port unreachable" in output

    code, output = run("stun:nowhere.test")
    assert code == ExitCode.FAILED
    assert "=> failed: the name does not exist" in output
    names["_stun._udp.none.test"] = [SrvRecord(0, 0, 0, ".")]
    code, output = run("stun:none.test", "--timeout", "0.5")
    assert "its domain says that there is no such server" in output
    code, output = run("turn:nowhere.test?transport=sctp")
    assert (code, "the transport 'sctp' is not known" in output) == (ExitCode.FAILED, True)

    with serving() as server:
        code, output = run(server.urls[0], f"127.0.0.1:{port}", "--json")
        assert code == ExitCode.DEGRADED
        assert events(output)[-1] | {"after_ms": 0} == {
            "event": "done", "after_ms": 0, "ok": 1, "degraded": 0, "failed": 1,
        }  # fmt: skip


def test_a_server_that_works_over_one_family_only(
    run: Any, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tcp=False) as server:
        names["stun.test"] = ["127.0.0.1", "127.0.0.2"]
        # no host has two families for certain: the second address of IPv4 plays the part of IPv6
        monkeypatch.setattr(probing, "_family", lambda address: 6 if address[0] == "127.0.0.2" else 4)
        code, output = run(f"stun:stun.test:{server.udp_addresses[0][1]}")
        assert code == ExitCode.DEGRADED
        assert "=> degraded: answers by udp over IPv4, but not by udp over IPv4" in output
        assert "no" in output.split()


def test_tls(run: Any, names: dict[str, Any], authority: Any) -> None:
    certificate = authority.issue("stun.test")
    names["stun.test"] = ["127.0.0.1"]
    with serving(ssl_context=certificate.server_context()) as server:
        port = server.tcp_addresses[0][1]
        code, output = run(f"stuns:stun.test:{port}", "--ca-file", str(authority.path))
        assert code == ExitCode.OK
        assert "=> ok: answers by tls over IPv4" in output
        assert "connected in" in output
        code, output = run(f"stuns:stun.test:{port}", "--json")
        assert code == ExitCode.FAILED
        tls = events(output)[0]["checks"][0]
        assert (tls["transport"], tls["reason"]) == ("tls", "certificate")
        assert "the certificate is not accepted as that of stun.test" in tls["detail"]
        code, output = run(
            f"stuns:127.0.0.1:{port}", "--server-name", "stun.test", "--ca-file", str(authority.path)
        )
        assert code == ExitCode.OK
        # for a stun: URL, TLS on the same port is told for information
        code, output = run(f"stun:stun.test:{port}", "--ca-file", str(authority.path), "--json")
        by_transport = {check["transport"]: check for check in events(output)[0]["checks"]}
        assert by_transport["tls"]["status"] == "ok"
        assert not by_transport["tls"]["wanted"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["http://example.org"], "is no server URL"),
        (["stuns:192.0.2.1"], "a certificate cannot be verified against an address"),
        (["stun:h", "--timeout", "0"], "--timeout is a number of seconds above 0"),
        (["stun:h", "--timeout", "x"], "invalid float value"),
        (["stun:h", "--password", "p"], "--password needs --user"),
        (["stun:h", "--user", "u"], "--user needs --password"),
        (["stun:h", "--user", "u", "--password", "\x00"], "--user, --password"),
        (["stun:h", "--ca-file", "/nowhere/ca.pem"], "--ca-file /nowhere/ca.pem"),
        (["stun:h", "-4", "-6"], "not allowed with argument"),
        ([], "the following arguments are required"),
    ],
)
def test_usage(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", *arguments]) == ExitCode.USAGE
    assert complaint in capsys.readouterr().err


def test_the_password_is_asked_for_where_somebody_sits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "typed" if "somebody" in prompt else "")
    credentials = probe._credentials("somebody", None)
    assert credentials.password == "typed"
    assert "typed" not in repr(credentials)


@pytest.mark.parametrize(
    ("url", "transports"),
    [
        ("stun:h", ["udp*", "tcp", "tls 5349", "dtls 5349"]),
        ("stun:h:99", ["udp*", "tcp", "tls 99", "dtls 99"]),
        ("stun:192.0.2.1", ["udp*", "tcp"]),
        ("stuns:h", ["tls* 5349", "dtls 5349"]),
        ("turn:h", ["udp*", "tcp", "tls 5349", "dtls 5349"]),
        ("turn:h?transport=tcp", ["tcp*"]),
        ("turns:h?transport=udp", ["dtls* 5349"]),
        ("turns:h:443", ["tls* 443", "dtls 443"]),
    ],
)
def test_what_is_tried_for_which_url(url: str, transports: list[str]) -> None:
    plan = probing.transports_to_try(parse_server_url(url))
    assert [
        f"{transport}{'*' * wanted}{f' {each.port}' * each.secure}" for each, transport, wanted in plan
    ] == transports

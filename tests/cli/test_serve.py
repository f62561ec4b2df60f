"""`fasticepy serve`, as its own process."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fasticePy import stun
from fasticePy.cli import main
from fasticePy.cli.command import ExitCode
from fasticePy.server import self_signed_certificate


@contextmanager
def serving(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "fasticePy", "serve", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def ask(address: str) -> None:
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.bind(("127.0.0.1", 0))
        request = stun.MessageBuilder(stun.Method.BINDING, stun.MessageClass.REQUEST).build()
        client.sendto(request, (host, int(port)))
        answer = stun.parse(client.recv(2000))
        assert answer.get(stun.Attribute.XOR_MAPPED_ADDRESS) == client.getsockname()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_serves_until_a_signal_and_tells_what_it_did(number: signal.Signals) -> None:
    with serving("--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--json") as process:
        ready = json.loads(first_line(process))
        assert ready["event"] == "ready"
        assert ready["udp"] == ready["tcp"] == ready["all_udp"][0]
        assert (ready["tls"], ready["dtls"]) == (None, None)
        assert ready["urls"] == ["stun:" + address for address in ready["all_udp"]]
        for address in ready["all_udp"]:
            ask(address)
        process.send_signal(number)
        output, errors = process.communicate(timeout=10)
        assert json.loads(output) == {"event": "closed", "counters": {"answered": 2}}
        assert errors == ""
        assert process.returncode == ExitCode.OK


def test_text_output_and_end_with_the_input() -> None:
    with serving("--listen", "127.0.0.1:0", "--no-tcp", "--stop-on-eof") as process:
        lines = first_line(process) + first_line(process)
        assert "STUN server on udp," in lines
        url = lines.split()[-1]
        ask(url.removeprefix("stun:"))
        output, errors = process.communicate(timeout=10)
        assert output.split() == ["1", "answered"]
        assert errors == ""
        assert process.returncode == ExitCode.OK


def test_an_address_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(["serve", "--listen", address, "--json"]) == ExitCode.FAILED
    captured = capsys.readouterr()
    assert json.loads(captured.out)["fatal"] is True
    assert f"cannot listen on {address}" in captured.err


def ask_tls(address: str, context: ssl.SSLContext) -> stun.Message:
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(stun.MessageBuilder(stun.Method.BINDING, stun.MessageClass.REQUEST).build())
        return stun.parse(client.recv(2000))


def test_tls_with_a_certificate_from_files(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="certificates for the tests are made with cryptography")
    certificate = self_signed_certificate(["localhost"])
    (tmp_path / "cert.pem").write_bytes(certificate.chain)
    (tmp_path / "key.pem").write_bytes(certificate.key)
    files = ["--cert", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem")]
    options = ["--tls-listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--software", "us"]
    with serving(*files, *options, "--json", "--stop-on-eof") as process:
        ready = json.loads(first_line(process))
        assert ready["tls"] != ready["tcp"]
        assert ready["all_tls"] == [ready["tls"], ready["tcp"]]
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        for address in ready["all_tls"]:
            answer = ask_tls(address, context)
            assert answer.get(stun.Attribute.XOR_MAPPED_ADDRESS)[0] == "127.0.0.1"
            assert answer.get(stun.Attribute.SOFTWARE) == "us"


def test_a_self_signed_certificate_users_and_nothing_but_tls() -> None:
    pytest.importorskip("OpenSSL", reason="DTLS needs pyOpenSSL")
    options = ["--tls-listen", "127.0.0.1:0", "--self-signed", "--dtls", "--user", "u=p=q", "--realm", "here"]
    with serving(*options, "--stop-on-eof") as process:
        lines = [first_line(process) for _ in range(3)]
        assert lines[0] == " STUN server on tls and dtls, Ctrl-C ends it\n"
        (tls, address), (dtls, other) = (line.split() for line in lines[1:])
        assert (tls, dtls) == ("tls", "dtls")
        assert address == other
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        answer = ask_tls(address, context)
        assert answer.get(stun.Attribute.ERROR_CODE) == (401, "")
        assert answer.get(stun.Attribute.REALM) == "here"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--listen", "localhost:1"], "localhost"),
        (["--tls-listen", "127.0.0.1:0"], "--cert FILE"),
        (["--dtls"], "--cert FILE"),
        (["--key", "key.pem"], "--cert"),
        (["--self-signed", "--cert", "cert.pem"], "exclude"),
        (["--cert", "/nonexistent/cert.pem"], "/nonexistent/cert.pem: No such file"),
        (["--cert", __file__], "certificate cannot be used"),
        (["--user", "secret"], "is not NAME=PASSWORD"),
        (["--realm", "here"], "users"),
        (["--software", "x" * 200], "127|128|characters|bytes"),
        (["--no-udp", "--no-tcp"], "nothing to serve"),
    ],
)
def test_options_that_make_no_sense(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *options]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert re.search(said, captured.err)
    assert captured.out == ""

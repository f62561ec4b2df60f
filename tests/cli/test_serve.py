"""`fasticepy serve`, as its own process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fasticePy import stun
from fasticePy.cli import main
from fasticePy.cli.command import ExitCode


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

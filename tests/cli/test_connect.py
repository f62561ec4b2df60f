"""`fasticepy connect`, as two processes: files, TCP and pasting, and pipes that lose nothing."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fasticePy.cli.command import ExitCode
from fasticePy.cli.signalling import BLOB_PREFIX, parse_note

MEBIBYTE = 1 << 20


def blob(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


class Side:
    """One `fasticepy connect`; what it says to people is collected as it comes."""

    def __init__(self, *arguments: str, stdin: int | None = subprocess.PIPE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fasticePy", "connect", *arguments, "--include-loopback"],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.said = ""
        self.output = b""
        self.ended = False
        self._heard = threading.Condition()
        self._threads = [threading.Thread(target=target) for target in (self._listen, self._collect)]
        for thread in self._threads:
            thread.start()

    def hear(self, pattern: str) -> str:
        """Wait until it has said this, and give the first group."""
        with self._heard:
            self._heard.wait_for(lambda: self.ended or re.search(pattern, self.said), 20)
            found = re.search(pattern, self.said)
            assert found is not None, self.said
            return found.group(1) if found.groups() else found.group()

    def type(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def end_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def finish(self) -> int:
        """Wait for the end; its exit code."""
        code = self.process.wait(30)
        for thread in self._threads:
            thread.join(5)
        return code

    def kill(self) -> None:
        self.process.kill()
        self.finish()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None and not stream.closed:
                with suppress(BrokenPipeError):
                    stream.close()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._heard:
                self.said += line.decode()
                self._heard.notify_all()
        with self._heard:
            self.ended = True
            self._heard.notify_all()

    def _collect(self) -> None:
        assert self.process.stdout is not None
        while data := self.process.stdout.read1(65536):
            with self._heard:
                self.output += data
                self._heard.notify_all()

    def receive(self, size: int) -> bytes:
        """Wait until so many bytes have come out."""
        with self._heard:
            self._heard.wait_for(lambda: self.ended or len(self.output) >= size, 20)
            assert len(self.output) >= size, self.said
            return self.output


@pytest.fixture
def sides() -> Iterator[list[Side]]:
    """The sides of a test, which are ended with it."""
    started: list[Side] = []
    yield started
    for side in started:
        side.kill()


def by_tcp(sides: list[Side], *options: str, stdin: int | None = subprocess.PIPE) -> tuple[Side, Side]:
    """Connect by TCP signalling: the answering side listens."""
    answer = Side("--answer", "--listen", "127.0.0.1:0", *options)
    sides.append(answer)
    via = answer.hear(r"--via (\S+)")
    offer = Side("--offer", "--via", via, *options, stdin=stdin)
    sides.append(offer)
    return offer, answer


def test_a_file_arrives_whole_by_descriptions_in_files(tmp_path: Path, sides: list[Side]) -> None:
    """`< file` on one side, a pipe on the other, which sends something itself."""
    data = blob(MEBIBYTE)
    (tmp_path / "data").write_bytes(data)
    offer_file, answer_file = str(tmp_path / "offer"), str(tmp_path / "answer")
    with (tmp_path / "data").open("rb") as file:
        offer = Side("--offer", "--out", offer_file, "--in", answer_file, stdin=file.fileno())
    sides.append(offer)
    answer = Side("--answer", "--in", offer_file, "--out", answer_file)
    sides.append(answer)
    answer.type(b"the other way\n")
    answer.end_input()
    assert (offer.finish(), answer.finish()) == (ExitCode.OK, ExitCode.OK)
    assert answer.output == data
    assert offer.output == b"the other way\n"
    assert "Connected: host " in offer.said


def test_both_directions_arrive_whole_by_tcp(sides: list[Side]) -> None:
    offer, answer = by_tcp(sides)
    there, back = blob(MEBIBYTE, 2), blob(MEBIBYTE, 3)
    writers = [
        threading.Thread(target=lambda side=side, data=data: (side.type(data), side.end_input()))
        for side, data in ((offer, there), (answer, back))
    ]
    for writer in writers:
        writer.start()
    assert (offer.finish(), answer.finish()) == (ExitCode.OK, ExitCode.OK)
    for writer in writers:
        writer.join(5)
    assert answer.output == there
    assert offer.output == back


def test_options_of_both_sides(sides: list[Side]) -> None:
    """Continual gathering and TCP candidates change nothing for who uses it."""
    offer, answer = by_tcp(sides, "--continual", "--tcp", "--nomination", "fastest")
    offer.type(b"data")
    offer.end_input()
    answer.end_input()
    assert offer.finish() == answer.finish() == ExitCode.OK
    assert answer.output == b"data"


def test_a_chat_is_live_and_ends_when_both_hang_up(sides: list[Side]) -> None:
    offer, answer = by_tcp(sides)
    offer.type(b"hello\n")
    assert answer.receive(6) == b"hello\n"
    answer.type("grüße\n".encode())
    assert offer.receive(8) == "grüße\n".encode()
    offer.end_input()
    answer.type(b"one more\n")
    assert offer.receive(17).endswith(b"one more\n")
    answer.end_input()
    assert (offer.finish(), answer.finish()) == (ExitCode.OK, ExitCode.OK)


def test_pasting(sides: list[Side]) -> None:
    """Each prints a line that is pasted at the other; what follows the line is already the chat."""
    offer = Side("--offer")
    sides.append(offer)
    answer = Side("--answer")
    sides.append(answer)
    answer.hear("offer here")
    offer_blob = offer.hear(f"({BLOB_PREFIX}\\S+)\n")
    answer.type(b"something else\n\n" + offer_blob.encode() + b"\nfirst line\n")
    assert "paste it again" in answer.hear("That is .*")
    answer_blob = answer.hear(f"({BLOB_PREFIX}\\S+)\n")
    assert parse_note(answer_blob).answers == parse_note(offer_blob).description.ufrag
    offer.type(answer_blob.encode() + b"\n")
    assert offer.receive(11) == b"first line\n"
    offer.end_input()
    answer.end_input()
    assert (offer.finish(), answer.finish()) == (ExitCode.OK, ExitCode.OK)


def test_sdp_can_be_pasted(sides: list[Side]) -> None:
    """From a program that knows nothing of our blobs: SDP attribute lines, ended by an empty line."""
    offer = Side("--offer")
    sides.append(offer)
    answer = Side("--answer")
    sides.append(answer)
    for side, other in ((offer, answer), (answer, offer)):
        note = parse_note(side.hear(f"({BLOB_PREFIX}\\S+)\n"))
        other.type(str(note.description).encode() + b"\n")
    for side in (offer, answer):
        side.hear("Connected")
        side.end_input()
    assert (offer.finish(), answer.finish()) == (ExitCode.OK, ExitCode.OK)


def test_own_description_is_refused(sides: list[Side]) -> None:
    offer = Side("--offer")
    sides.append(offer)
    offer.type(offer.hear(f"({BLOB_PREFIX}\\S+)\n").encode() + b"\n")
    assert offer.finish() == ExitCode.FAILED
    assert "our own description" in offer.said


def test_input_that_ends_before_a_description(sides: list[Side]) -> None:
    answer = Side("--answer", stdin=subprocess.DEVNULL)
    sides.append(answer)
    assert answer.finish() == ExitCode.FAILED
    assert "the input ended" in answer.said


def test_nobody_answers(tmp_path: Path, sides: list[Side]) -> None:
    arguments = (
        ["--offer", "--out", str(tmp_path / "offer"), "--in", str(tmp_path / "answer")],
        ["--answer", "--listen", "127.0.0.1:0"],
        ["--answer", "--via", "127.0.0.1:1"],
    )
    sides.extend(Side(*each, "--timeout", "0.2") for each in arguments)
    for side in sides:
        assert side.finish() == ExitCode.FAILED
        assert "did not answer within 0.2 s" in side.said


def test_a_place_that_cannot_be_written_or_listened_on(tmp_path: Path, sides: list[Side]) -> None:
    arguments = (
        ["--offer", "--out", str(tmp_path / "nowhere" / "offer"), "--in", "never"],
        ["--answer", "--listen", "192.0.2.199:1"],
    )
    sides.extend(Side(*each) for each in arguments)
    for side in sides:
        assert side.finish() == ExitCode.FAILED
        assert "fasticepy connect: " in side.said
        assert "Traceback" not in side.said


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_both_sides(sides: list[Side]) -> None:
    offer, answer = by_tcp(sides)
    for side in (offer, answer):
        side.hear("Connected")
    offer.process.send_signal(signal.SIGINT)
    assert offer.finish() == ExitCode.INTERRUPTED
    assert answer.finish() == ExitCode.FAILED
    assert "The other side left." in answer.said
    assert "Traceback" not in offer.said + answer.said


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pipe that can be closed under the process")
def test_a_reader_of_the_output_that_goes_away_is_told(sides: list[Side]) -> None:
    answer = Side("--answer", "--listen", "127.0.0.1:0")
    sides.append(answer)
    via = answer.hear(r"--via (\S+)")
    read_end, write_end = os.pipe()
    offer = subprocess.Popen(
        [sys.executable, "-m", "fasticePy", "connect", "--offer", "--via", via, "--include-loopback"],
        stdin=subprocess.PIPE,
        stdout=write_end,
        stderr=subprocess.PIPE,
    )
    os.close(write_end)
    os.close(read_end)
    try:
        answer.type(blob(100_000))
        answer_code = answer.finish()
        _, said = offer.communicate(timeout=20)
        assert (offer.returncode, answer_code) == (ExitCode.FAILED, ExitCode.FAILED)
        assert b"Cannot write" in said
    finally:
        offer.kill()
        offer.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_at_a_terminal_we_hang_up_when_the_other_side_does(sides: list[Side]) -> None:
    master, slave = os.openpty()
    try:
        offer, answer = by_tcp(sides, stdin=slave)
        os.write(master, b"typed\n")
        assert answer.receive(6) == b"typed\n"
        answer.type(b"bye\n")
        answer.end_input()
        assert (offer.finish(), answer.finish()) == (ExitCode.OK, ExitCode.OK)
        assert offer.output == b"bye\n"
    finally:
        os.close(master)
        os.close(slave)

"""How two `fasticepy connect` hand each other their descriptions."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasticePy.cli import signalling
from fasticePy.cli.signalling import (
    BLOB_PREFIX,
    NOTE_LIMIT,
    Line,
    Note,
    SignallingError,
    answer_call,
    call,
    parse_note,
    read_file,
    read_pasted,
    write_file,
)
from fasticePy.errors import ParseError
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.signalling.description import Description

CANDIDATES = (
    Candidate.from_sdp("candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host"),
    Candidate.from_sdp("candidate:2 1 udp 1694498815 203.0.113.9 5001 typ srflx raddr 192.0.2.1 rport 5000"),
)
DESCRIPTION = Description(ufrag="abcd", pwd="0123456789abcdefghijkl", candidates=CANDIDATES, complete=True)
NOTE = Note(DESCRIPTION, "offerer")


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 20))


def blob_of(data: bytes) -> str:
    return BLOB_PREFIX + urlsafe_b64encode(zlib.compress(data)).decode()


def test_a_blob_is_one_short_line_and_reads_back() -> None:
    blob = NOTE.to_blob()
    assert blob.isascii()
    assert not set(blob) & set(" \n\"'$\\")
    assert len(blob) < 500
    assert parse_note(f"  {blob}\n") == NOTE
    # mail programs break lines
    assert parse_note(blob[:40] + "\n " + blob[40:]) == NOTE


def test_other_forms_of_a_description_are_taken() -> None:
    assert parse_note(NOTE.to_json()) == NOTE
    assert parse_note(DESCRIPTION.to_json()) == Note(DESCRIPTION)
    assert parse_note(str(DESCRIPTION)) == Note(DESCRIPTION)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "{",
        "{}",
        '{"description": {}}',
        "[" * 50_000,
        '{"a":' * 50_000,
        BLOB_PREFIX,
        BLOB_PREFIX + "!!!!",
        BLOB_PREFIX + "AAAA",
        NOTE.to_blob()[:-8],
        blob_of(b"\xff\xfe"),
        blob_of(b"hello"),
        blob_of(bytes(10_000_000)),
        "x" * (NOTE_LIMIT + 1),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_description_is_a_parse_error(text: str) -> None:
    with pytest.raises(ParseError):
        parse_note(text)


@given(st.text() | st.text().map(lambda text: BLOB_PREFIX + text) | st.binary().map(blob_of))
def test_any_text_is_a_note_or_a_parse_error(text: str) -> None:
    with suppress(ParseError):
        parse_note(text)


# -- pasting


def pasted(text: str, *, end: bool = False) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=NOTE_LIMIT)
    reader.feed_data(text.encode())
    if end:
        reader.feed_eof()
    return reader


@pytest.mark.parametrize(
    "text",
    [
        NOTE.to_blob(),
        NOTE.to_json(),
        json.dumps(json.loads(NOTE.to_json()), indent=2),
        str(DESCRIPTION),
        "\n\n" + NOTE.to_blob(),
    ],
    ids=["blob", "json", "pretty json", "sdp", "empty lines first"],
)
def test_pasted_text_is_taken_as_soon_as_it_is_whole(text: str) -> None:
    async def main() -> None:
        reader = pasted(text + "\nthe chat begins\n")
        assert (await read_pasted(reader)).description == DESCRIPTION
        assert await reader.readline() in (b"the chat begins\n", b"\n")

    run(main())


def test_sdp_without_an_end_is_ended_by_an_empty_line() -> None:
    async def main() -> None:
        lines = [line for line in str(DESCRIPTION).splitlines() if "end-of-candidates" not in line]
        note = await read_pasted(pasted("\n".join(lines) + "\n\n"))
        assert note.description.candidates == CANDIDATES

    run(main())


def test_a_bad_paste_may_be_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        assert await read_pasted(pasted(f"{NOTE.to_blob()[:-9]}\n{NOTE.to_blob()}\n")) == NOTE

    run(main())
    assert "paste it again" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "half a", "x" * (NOTE_LIMIT * 3)])
def test_input_that_ends_without_a_description(text: str) -> None:
    async def main() -> None:
        with pytest.raises(SignallingError):
            await read_pasted(pasted(text, end=True))

    run(main())


# -- files


def test_a_file_is_written_whole_and_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "offer"
    path.write_text("old")
    write_file(path, NOTE.to_blob())
    assert parse_note(path.read_text()) == NOTE
    assert os.listdir(tmp_path) == ["offer"]
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        write_file(tmp_path / "nowhere" / "offer", "text")


async def steps(*actions: Callable[[], object]) -> None:
    """Do these, each a few looks at the file later."""
    for action in actions:
        await asyncio.sleep(signalling.FILE_POLL * 2.5)
        action()


def test_waits_until_a_file_is_there_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signalling, "FILE_POLL", 0.002)
    path = tmp_path / "answer"
    blob = NOTE.to_blob()

    async def main() -> None:
        writing = asyncio.ensure_future(
            steps(
                lambda: path.write_text(""),
                lambda: path.write_text(blob[:50]),
                lambda: path.write_text(blob),
            )
        )
        assert await read_file(path, answers="offerer") == NOTE
        await writing

    run(main())


def test_an_answer_to_an_earlier_offer_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signalling, "FILE_POLL", 0.002)
    path = tmp_path / "answer"
    path.write_text(Note(DESCRIPTION, "earlier").to_blob())

    async def main() -> None:
        writing = asyncio.ensure_future(steps(lambda: path.write_text(NOTE.to_blob())))
        assert await read_file(path, answers="offerer") == NOTE
        assert writing.done()

    run(main())


# -- TCP


async def port_of(capsys: pytest.CaptureFixture[str]) -> int:
    text = ""
    while "--via" not in text:
        text += capsys.readouterr().err
        await asyncio.sleep(0.002)
    return int(text.split(":")[-1])


def test_the_first_who_sends_a_description_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        async def listen() -> None:
            async with answer_call("127.0.0.1", 0, timeout=10) as (line, note):
                assert note == NOTE
                line.send({"candidate": "one"})
                assert await line.receive() == {"candidate": "two"}
                assert await line.receive() is None

        listening = asyncio.ensure_future(listen())
        port = await port_of(capsys)
        _, idle = await asyncio.open_connection("127.0.0.1", port)
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b"{}\n", b"x" * (NOTE_LIMIT * 3), b""):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(garbage)
            if not garbage:
                writer.write_eof()
            with_reset = False
            try:
                assert await reader.read() == b""
            except ConnectionError:
                with_reset = True  # it did not read everything that we sent
            assert not with_reset or len(garbage) > 1000
            writer.transport.abort()
        async with call("127.0.0.1", port, timeout=5) as line:
            line.send(json.loads(NOTE.to_json()))
            assert await line.receive() == {"candidate": "one"}
            line.send({"candidate": "two"})
        await listening
        idle.transport.abort()
        await asyncio.sleep(0)

    run(main())


def test_calling_goes_on_until_the_other_side_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signalling, "TCP_RETRY", 0.01)

    async def main() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()

        async def dial() -> None:
            async with call("127.0.0.1", port, timeout=10) as line:
                assert await line.receive() is None

        dialling = asyncio.ensure_future(dial())
        await asyncio.sleep(0.05)
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port)
        await dialling
        server.close()
        await server.wait_closed()

    run(main())


def test_nobody_there_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signalling, "TCP_RETRY", 0.01)

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            async with call("127.0.0.1", 1, timeout=0.05):
                pytest.fail("nobody listens there")
        with pytest.raises(asyncio.TimeoutError):
            async with answer_call("127.0.0.1", 0, timeout=0.05):
                pytest.fail("nobody called")

    run(main())


@pytest.mark.parametrize("data", [b"no json\n", b"[1]\n", b"[" * 5000 + b"\n", b"x" * 200_000])
def test_lines_that_are_no_objects_are_parse_errors(data: bytes) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader(limit=NOTE_LIMIT)
        reader.feed_data(data)
        line = Line(reader, None)  # type: ignore[arg-type]
        with pytest.raises(ParseError):
            await line.receive()

    run(main())

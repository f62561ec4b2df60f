"""How two `fasticepy connect` hand each other their descriptions: pasted blobs, files, or a TCP connection."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import tempfile
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fasticePy.cli.output import host_port, say
from fasticePy.errors import IceError, ParseError
from fasticePy.ice.signalling.description import Description

BLOB_PREFIX = "ice1:"
NOTE_LIMIT = 65536
"""Characters in a description that is received, unpacked."""
FILE_POLL = 0.05
"""Seconds between two looks at a file that the other side has not written yet."""
TCP_RETRY = 0.2
"""Seconds between two attempts to reach the other side's signalling port."""
TCP_FIRST_LINE = 10.0
"""Seconds in which somebody who connects to our signalling port must send a description."""
TCP_CALLERS = 8
"""Connections to our signalling port at once, at most."""


class SignallingError(IceError):
    """The descriptions could not be exchanged; the text says why."""


@dataclass(frozen=True, slots=True)
class Note:
    """What one side hands the other: its description, and for an answer, which offer it answers."""

    description: Description
    answers: str | None = None
    """The ufrag of the offer, so that an answer left over from an earlier attempt is told from ours."""

    def to_json(self) -> str:
        """The note as JSON on one line."""
        return json.dumps({"description": json.loads(self.description.to_json()), "answers": self.answers})

    def to_blob(self) -> str:
        """The note as one line that survives being pasted."""
        packed = zlib.compress(self.to_json().encode(), 9)
        return BLOB_PREFIX + base64.urlsafe_b64encode(packed).decode()


def parse_note(text: str) -> Note:
    """Read a blob, a note or a description as JSON, or SDP attribute lines. Raises `ParseError`."""
    text = text.strip()
    if text.startswith(BLOB_PREFIX):
        text = _unpack(text[len(BLOB_PREFIX) :])
    if len(text) > NOTE_LIMIT:
        raise ParseError(f"a description of more than {NOTE_LIMIT} characters")
    if not text.startswith("{"):
        return Note(Description.parse(text))
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParseError(f"not JSON: {error}") from None
    if not isinstance(value.get("description"), dict):
        return Note(Description.parse(text))
    answers = value.get("answers")
    return Note(
        Description.parse(json.dumps(value["description"])), answers if isinstance(answers, str) else None
    )


def _unpack(body: str) -> str:
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(base64.urlsafe_b64decode("".join(body.split())), NOTE_LIMIT).decode()
    except (ValueError, zlib.error) as error:  # not base64, not compressed, not UTF-8
        raise ParseError(f"the blob is damaged: {error}") from None
    if not unpacker.eof:
        raise ParseError("the blob is cut off, or larger than a description can be")
    return text


async def read_pasted(reader: asyncio.StreamReader) -> Note:
    """Read lines until they make a note: a line of blob, JSON, or SDP lines up to an empty one.

    What does not parse is reported to the person, who may paste again. Raises `SignallingError` at the end of input.
    """
    lines: list[str] = []
    while True:
        try:
            line = (await reader.readline()).decode("utf-8", "replace")
        except ValueError:
            raise SignallingError("the pasted text has no end of line") from None
        if line.strip():
            lines.append(line.strip())
        if lines and _is_whole(lines, line):
            try:
                return parse_note("\n".join(lines))
            except ParseError as error:
                say(f"That is not a description ({error}); paste it again.")
                lines.clear()
        if not line:
            raise SignallingError("the input ended before a description came")


def _is_whole(lines: list[str], latest: str) -> bool:
    """Whether nothing more is to be expected after the latest line."""
    if not latest.strip() or lines[0].startswith(BLOB_PREFIX):
        return True
    if not lines[0].startswith("{"):
        return "end-of-candidates" in latest
    with suppress(ValueError, RecursionError):
        json.loads("\n".join(lines))
        return True
    return False


def write_file(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or nothing; only we may read it, for it holds a password."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        os.replace(name, path)
    except OSError:
        os.unlink(name)
        raise


async def read_file(path: Path, *, answers: str | None) -> Note:
    """Wait for the other side's file. With `answers`, an answer to another offer does not count.

    Never ends before the file is there and whole: put a timeout around it.
    """
    last = ""
    while True:
        text = _read_text(path)
        if text and text != last:
            last = text
            try:
                note = parse_note(text)
            except ParseError as error:
                say(f"{path} holds no description yet: {error}")
            else:
                if answers is None or note.answers in (None, answers):
                    return note
                say(f"{path} answers another offer; waiting for a new one.")
        await asyncio.sleep(FILE_POLL)


def _read_text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(NOTE_LIMIT * 2)
    except FileNotFoundError:
        return ""


class Line:
    """A TCP connection to the other side that carries JSON objects, one a line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, value: dict[str, object]) -> None:
        """Send one object."""
        self._writer.write(json.dumps(value).encode() + b"\n")

    async def receive(self) -> dict[str, object] | None:
        """The next object; None when the other side closed. Raises `ParseError` for anything else."""
        try:
            line = await self._reader.readline()
        except ValueError:
            raise ParseError("a line longer than any description") from None
        except OSError:
            return None
        if not line.endswith(b"\n"):
            return None
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            raise ParseError("not a line of JSON") from None
        if not isinstance(value, dict):
            raise ParseError("not a JSON object")
        return value

    async def close(self) -> None:
        """Close the connection; what was sent still goes out."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


@asynccontextmanager
async def call(host: str, port: int, *, timeout: float) -> AsyncIterator[Line]:
    """Connect to the other side's `--listen`, trying for `timeout` seconds until it is there."""
    line = await asyncio.wait_for(_dial(host, port), timeout)
    try:
        yield line
    finally:
        await line.close()


async def _dial(host: str, port: int) -> Line:
    while True:
        try:
            return Line(*await asyncio.open_connection(host, port, limit=NOTE_LIMIT))
        except ConnectionError:
            await asyncio.sleep(TCP_RETRY)
        except OSError as error:
            raise SignallingError(f"cannot reach {host_port((host, port))}: {error}") from error


@asynccontextmanager
async def answer_call(host: str, port: int, *, timeout: float) -> AsyncIterator[tuple[Line, Note]]:
    """Listen for the other side's `--via`, for `timeout` seconds; gives the connection and the note of the first who
    sends one."""
    first: asyncio.Future[tuple[Line, Note]] = asyncio.get_running_loop().create_future()
    callers: set[asyncio.Task[None]] = set()

    async def greet(line: Line) -> None:
        try:
            value = await asyncio.wait_for(line.receive(), TCP_FIRST_LINE)
            note = parse_note(json.dumps(value)) if value else None
            if note is not None and not first.done():
                first.set_result((line, note))
        except (ParseError, asyncio.TimeoutError):
            say("Somebody connected who sent no description.")
        finally:
            if not first.done() or first.cancelled() or first.result()[0] is not line:
                await line.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if first.done() or len(callers) >= TCP_CALLERS:
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(greet(Line(reader, writer)))
        callers.add(task)
        task.add_done_callback(callers.discard)

    try:
        server = await asyncio.start_server(accept, host, port, limit=NOTE_LIMIT)
    except OSError as error:
        raise SignallingError(f"cannot listen on {host_port((host, port))}: {error}") from error
    say(
        f"Waiting for the other side: fasticepy connect --via {host_port(server.sockets[0].getsockname()[:2])}"
    )
    try:
        line, note = await asyncio.wait_for(first, timeout)
    finally:
        server.close()
        for task in callers:
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    try:
        yield line, note
    finally:
        await line.close()

"""Standard input and output beside an event loop."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from fasticePy.cli import stdio
from fasticePy.cli.stdio import READ_AHEAD, ByteSink, StopSignals, open_reader


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 20))


def test_reads_regular_files(tmp_path: Path) -> None:
    """asyncio's own pipe transports refuse them."""
    data = random.Random(1).randbytes(300_000)
    path = tmp_path / "file"
    path.write_bytes(data)

    async def main() -> None:
        with path.open("rb") as file:
            assert await open_reader(file.fileno()).read() == data

    run(main())


def test_reading_waits_for_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is read ahead is limited: twice the buffer limit, and what was on its way."""
    monkeypatch.setattr(stdio, "BUFFER_LIMIT", 1000)
    monkeypatch.setattr(stdio, "READ_SIZE", 100)
    path = tmp_path / "file"
    path.write_bytes(bytes(100_000))

    async def main() -> None:
        with path.open("rb") as file:
            reader = open_reader(file.fileno())
            await asyncio.sleep(0.1)  # time in which it could read everything
            assert 0 < os.lseek(file.fileno(), 0, os.SEEK_CUR) <= 2000 + (1 + READ_AHEAD) * 100
            assert len(await reader.read(-1)) == 100_000

    run(main())


def test_a_descriptor_that_cannot_be_read_is_at_its_end() -> None:
    async def main() -> None:
        read_end, write_end = os.pipe()
        os.close(read_end)
        assert await open_reader(write_end).read() == b""
        os.close(write_end)

    run(main())


def test_no_console_is_an_empty_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)

    async def main() -> None:
        assert await open_reader().read() == b""

    run(main())


def test_writes_in_order_and_tells_when_there_is_room() -> None:
    async def main() -> None:
        read_end, write_end = os.pipe()
        wake = asyncio.Event()
        sink = ByteSink(write_end, wake.set)
        data = [bytes([number]) * 50_000 for number in range(10)]
        for chunk in data:
            sink.write(chunk)
        assert sink.pending > 0
        sink.end()
        reader = open_reader(read_end)
        assert await reader.readexactly(500_000) == b"".join(data)
        while sink.pending:
            wake.clear()
            await wake.wait()
        os.close(write_end)
        assert await reader.read() == b""
        os.close(read_end)

    run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows tells it otherwise")
def test_a_broken_pipe_is_kept_as_an_error() -> None:
    async def main() -> None:
        read_end, write_end = os.pipe()
        os.close(read_end)
        wake = asyncio.Event()
        sink = ByteSink(write_end, wake.set)
        sink.write(b"x")
        sink.write(b"y")
        while sink.pending:
            wake.clear()
            await wake.wait()
        assert isinstance(sink.error, BrokenPipeError)
        sink.end()
        os.close(write_end)

    run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_caught_while_wanted(number: signal.Signals) -> None:
    before = signal.getsignal(number)

    async def main() -> None:
        inside = signal.getsignal(number)
        with StopSignals() as stop:
            assert not stop.requested.is_set()
            os.kill(os.getpid(), number)
            await stop.requested.wait()
        assert signal.getsignal(number) == inside

    run(main())
    assert signal.getsignal(number) == before


def test_other_threads_leave_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    async def main() -> None:
        with StopSignals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join()
    assert seen == [before]

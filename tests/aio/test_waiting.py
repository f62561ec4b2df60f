from __future__ import annotations

import asyncio

import pytest

from fasticePy.aio.inbox import Inbox
from fasticePy.aio.waiting import Log, Signal


def test_a_signal_wakes_all_and_each_looks_for_itself(run) -> None:
    async def body() -> None:
        signal, values = Signal(), []
        waiting = [asyncio.ensure_future(signal.wait_for(lambda n=n: len(values) >= n)) for n in (1, 2)]
        await asyncio.sleep(0)
        values.append(1)
        signal.notify()
        assert await waiting[0]
        assert not waiting[1].done()
        values.append(2)
        signal.notify()
        assert await waiting[1]
        assert await signal.wait_for(lambda: True, 0)

    run(body())


def test_a_wait_ends_after_its_time(run) -> None:
    async def body() -> None:
        assert not await Signal().wait_for(lambda: False, timeout=0)

    run(body())


def test_cancelling_one_who_waits_leaves_the_others(run) -> None:
    async def body() -> None:
        signal, done = Signal(), False
        one, other = (asyncio.ensure_future(signal.wait_for(lambda: done)) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        done = True
        signal.notify()
        assert await other
        with pytest.raises(asyncio.CancelledError):
            await one

    run(body())


def test_every_reader_of_a_log_sees_everything_from_its_start(run) -> None:
    async def body() -> None:
        log: Log[int] = Log(10)
        log.append(1)
        first, second = log.follow(), log.follow(1)
        log.append(2)
        assert [await anext(first), await anext(first), await anext(second)] == [1, 2, 2]
        waiting = asyncio.ensure_future(anext(first))
        await asyncio.sleep(0)
        log.append(3)
        assert await waiting == 3
        log.end()
        assert [entry async for entry in second] == [3]
        assert [entry async for entry in first] == []
        assert [entry async for entry in log.follow()] == [1, 2, 3]

    run(body())


def test_a_reader_that_is_too_slow_gets_what_is_kept(run) -> None:
    async def body() -> None:
        log: Log[int] = Log(3)
        reader = log.follow()
        for number in range(10):
            log.append(number)
        log.end()
        assert [entry async for entry in reader] == [7, 8, 9]

    run(body())


def test_who_waited_first_gets_the_first_datagram(run) -> None:
    async def body() -> None:
        inbox = Inbox()
        waiting = [asyncio.ensure_future(inbox.get(lambda: None)) for _ in range(3)]
        await asyncio.sleep(0)
        assert inbox.awaited is True
        for number in range(3):
            inbox.put((b"%d" % number, 1, ("192.0.2.1", 9)))
        assert [(await each)[0] for each in waiting] == [b"0", b"1", b"2"]
        assert inbox.awaited is False

    run(body())


def test_what_ends_the_waiting_is_raised_where_it_is_waited(run) -> None:
    async def body() -> None:
        inbox, over = Inbox(), False

        def check() -> None:
            if over:
                raise ConnectionError("over")

        waiting = asyncio.ensure_future(inbox.get(check))
        await asyncio.sleep(0)
        over = True
        inbox.wake_all()
        with pytest.raises(ConnectionError):
            await waiting

    run(body())

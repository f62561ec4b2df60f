"""Credentials over time, on an event loop whose time is virtual."""

from __future__ import annotations

import asyncio
import logging
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest

from fasticePy.aio.credentials import (
    FETCH_TIMEOUT,
    FIRST_RETRY,
    LONGEST_NAP,
    LONGEST_RETRY,
    Credential,
    CredentialError,
    CredentialSource,
)
from fasticePy.aio.servers import IceServer, as_servers
from fasticePy.errors import ParseError
from fasticePy.stun import LongTermCredentials, TokenCredentials

T = TypeVar("T")
URL = "turn:turn.example.org"
EPOCH = 1_800_000_000.0
"""Unix time when a test begins."""
SECRET = "hunter2"


class VirtualLoop(asyncio.SelectorEventLoop):
    """Where nothing is ready, time goes on at once to the next timer."""

    def __init__(self) -> None:
        self.now = 1000.0
        loop = self

        class Selector(selectors.SelectSelector):
            def select(self, timeout: float | None = None) -> list[Any]:
                if timeout:
                    loop.now += timeout
                return super().select(0 if timeout else timeout)

        super().__init__(Selector())

    def time(self) -> float:
        return self.now


class World:
    """Virtual time, a wall clock that can be set, and an application's function that keeps a record."""

    def __init__(self, life: float | None = 600.0) -> None:
        self.loop = VirtualLoop()
        self.offset = EPOCH - self.loop.now
        self.life = life
        self.asked: list[float] = []
        """Seconds from the start at which the function was asked."""
        self.failing: BaseException | None = None
        self.delay = 0.0
        self.active = 0

    def clock(self) -> float:
        return self.loop.now + self.offset

    async def supply(self, server: IceServer) -> Credential:
        assert isinstance(server, IceServer)
        self.asked.append(round(self.loop.now - 1000, 3))
        self.active += 1
        assert self.active == 1, "asked twice at a time"
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.active -= 1
        if self.failing is not None:
            raise self.failing
        expires = None if self.life is None else self.clock() + self.life
        return Credential(f"user{len(self.asked)}", SECRET, expires_at=expires)

    def source(self, supply: Callable[[IceServer], Any] | None = None, **more: Any) -> CredentialSource:
        return CredentialSource(IceServer(URL, credential=supply or self.supply, **more), clock=self.clock)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def play(run: Callable[..., Any], world: World) -> Callable[[Coroutine[Any, Any, T]], T]:
    def play(body: Coroutine[Any, Any, T]) -> T:
        result: T = run(body, loop=world.loop)
        return result

    return play


Play = Callable[[Coroutine[Any, Any, Any]], Any]


# -- what a credential is ----------------------------------------------------------------------------------


def test_the_expiry_is_given_or_read_from_the_user_name() -> None:
    assert Credential("user", SECRET).expires_at is None
    assert Credential("user", SECRET, expires_at=EPOCH).expires_at == EPOCH
    assert Credential("1800000000:user", SECRET).expires_at == EPOCH
    assert Credential("1800000000:user", SECRET, expires_at=5.0).expires_at == 5.0
    for name in ("1800000000", "12:user", "user:1800000000", "1800000000000:user", "\u0661" * 10 + ":user"):
        assert Credential(name, SECRET).expires_at is None
    credential = Credential("1800000000:user", SECRET)
    assert not credential.expired(EPOCH - 1)
    assert credential.expired(EPOCH)
    assert not Credential("user", SECRET).expired(1e12)


def test_a_credential_signs_requests() -> None:
    assert Credential("user", SECRET).mechanism == LongTermCredentials("user", SECRET)
    token = TokenCredentials("kid", b"token", b"k" * 20)
    assert Credential(token=token, expires_at=EPOCH).mechanism is token


def test_what_is_no_credential() -> None:
    token = TokenCredentials("kid", b"token", b"k" * 20)
    for arguments in (
        {},
        {"username": "user"},
        {"password": SECRET},
        {"username": "user", "password": ""},
        {"username": "user", "password": SECRET, "expires_at": float("nan")},
        {"username": "user", "password": SECRET, "token": token},
    ):
        with pytest.raises(ValueError, match=r".") as caught:
            Credential(**arguments)
        assert SECRET not in str(caught.value)


def test_servers_take_functions() -> None:
    def supply(server: IceServer) -> str:
        return SECRET

    server = IceServer(URL, "user", supply)
    assert as_servers({"urls": URL, "username": "user", "credential": supply}) == (server,)
    assert IceServer(URL, credential=supply).username is None
    assert IceServer("stun:stun.example.org").credential is None
    with pytest.raises(ValueError, match="needs username and credential"):
        IceServer(URL, credential=SECRET)
    with pytest.raises(TypeError, match="a password or a function"):
        IceServer(URL, "user", b"bytes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be text"):
        as_servers({"urls": URL, "username": "user", "credential": 5})
    with pytest.raises(ParseError):
        IceServer("turn:", credential=supply)


# -- passwords ---------------------------------------------------------------------------------------------


def test_a_password_costs_no_task_and_no_timer(
    play: Play, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        monkeypatch.setattr(world.loop, "call_at", None)  # which every timer needs
        source = CredentialSource(IceServer(URL, "1800000000:user", SECRET), clock=world.clock)
        credential = await source.get()
        assert (credential.username, credential.password, credential.expires_at) == (
            "1800000000:user",
            SECRET,
            EPOCH,
        )
        assert await source.get() is source.current is credential
        assert not source.rejected(credential)
        assert await source.get() is credential
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await source.close()

    play(body())


def test_a_server_without_credential_has_no_source() -> None:
    with pytest.raises(ValueError, match="has no credential"):
        CredentialSource(IceServer("stun:stun.example.org"))


# -- functions ---------------------------------------------------------------------------------------------


def test_nothing_is_asked_before_it_is_needed_and_then_once_for_all(play: Play, world: World) -> None:
    async def body() -> None:
        world.delay = 1.0
        async with world.source() as source:
            await asyncio.sleep(50)
            assert world.asked == [] and source.current is None
            first, second = await asyncio.gather(source.get(), source.get())
            assert first is second is await source.get()
            assert world.asked == [50.0]

    play(body())


@pytest.mark.parametrize(
    ("life", "moments"),
    [
        (600.0, [0, 540, 1080]),
        (6000.0, [0, 5940, 11880]),
        (100.0, [0, 90, 180]),
        (0.1, [0, 1, 2]),  # never without a pause
    ],
)
def test_it_is_renewed_a_minute_or_a_tenth_of_its_life_before_it_expires(
    play: Play, world: World, life: float, moments: list[float]
) -> None:
    async def body() -> None:
        world.life = life
        async with world.source() as source:
            arrived: list[str | None] = []
            source.on_credential = lambda credential: arrived.append(credential.username)
            await source.get()
            await asyncio.sleep(moments[-1] + 0.01)
            assert world.asked == moments
            assert arrived == ["user1", "user2", "user3"]
            assert (await source.get()).username == arrived[-1]

    play(body())


def test_what_does_not_expire_is_fetched_once(play: Play, world: World) -> None:
    async def body() -> None:
        world.life = None
        async with world.source() as source:
            credential = await source.get()
            await asyncio.sleep(1e7)
            assert await source.get() is credential
            assert world.asked == [0.0]

    play(body())


@pytest.mark.parametrize("awaited", [False, True])
def test_a_function_may_be_plain_and_may_give_a_password(play: Play, world: World, awaited: bool) -> None:
    def plain(server: IceServer) -> str | Awaitable[str]:
        if not awaited:
            return SECRET
        future: asyncio.Future[str] = world.loop.create_future()
        future.set_result(SECRET)
        return future

    async def body() -> None:
        async with world.source(plain, username="1800000100:user") as source:
            credential = await source.get()
            assert credential == Credential("1800000100:user", SECRET, expires_at=EPOCH + 100)

    play(body())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (SECRET, "a password came, and the server has no user name"),
        (None, "NoneType came in place of a Credential"),
        (("user", SECRET), "tuple came in place of a Credential"),
    ],
)
def test_an_answer_of_another_kind_is_a_failure(
    play: Play, world: World, answer: object, message: str
) -> None:
    async def body() -> None:
        async with world.source(lambda server: answer) as source:
            with pytest.raises(CredentialError, match=message) as caught:
                await source.get()
            assert SECRET not in str(caught.value)

    play(body())


# -- failures ----------------------------------------------------------------------------------------------


def test_failures_are_repeated_with_growing_pauses(play: Play, world: World) -> None:
    async def body() -> None:
        world.failing = OSError("no way there")
        async with world.source() as source:
            arrived: list[Credential] = []
            source.on_credential = arrived.append
            with pytest.raises(
                CredentialError, match=r"turn\.example\.org: no credential: .* raised OSError"
            ) as caught:
                await source.get()
            assert caught.value.__cause__ is world.failing
            with pytest.raises(CredentialError, match="raised OSError"):
                await source.get()  # at once, and nobody is asked
            assert world.asked == [0.0]
            await asyncio.sleep(200)
            assert world.asked == [0, 1, 3, 7, 15, 31, 63, 123, 183]
            assert source.error == "the function raised OSError"
            world.failing = None
            await asyncio.sleep(LONGEST_RETRY)
            assert [credential.username for credential in arrived] == ["user10"]
            assert source.error == ""
            assert await source.get() is arrived[0]
            world.failing = OSError("again")
            await asyncio.sleep(540)  # the pauses are short again
            assert world.asked[10:13] == [783, 784, 786]

    play(body())


def test_while_a_renewal_fails_the_old_one_is_used_until_it_expires(play: Play, world: World) -> None:
    async def body() -> None:
        async with world.source() as source:
            credential = await source.get()
            world.failing = OSError()
            await asyncio.sleep(599)
            assert await source.get() is credential
            assert source.error
            await asyncio.sleep(1)
            with pytest.raises(CredentialError, match="raised OSError"):
                await source.get()
            world.failing = None
            await asyncio.sleep(LONGEST_RETRY)
            assert (await source.get()) != credential

    play(body())


def test_a_function_that_does_not_answer_is_given_up(play: Play, world: World) -> None:
    async def body() -> None:
        world.delay = 1e6
        async with world.source() as source:
            with pytest.raises(CredentialError, match="raised TimeoutError"):
                await source.get()
            assert world.loop.now == 1000 + FETCH_TIMEOUT
            assert world.active == 0

    play(body())


def test_a_function_that_cancels_itself_is_a_failure(play: Play, world: World) -> None:
    async def body() -> None:
        world.failing = asyncio.CancelledError()
        async with world.source() as source:
            with pytest.raises(CredentialError, match="the function was cancelled"):
                await source.get()
            world.failing = None
            await asyncio.sleep(FIRST_RETRY)
            await source.get()

    play(body())


def test_a_credential_that_had_expired_when_it_came_is_tried_and_replaced(
    play: Play, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        world.life = -100.0
        async with world.source() as source:
            assert (await source.get()).username == "user1"
            assert (await source.get()).username == "user1"
            assert world.asked == [0.0]
            assert "expired 100 s before it came: is the clock of this host right?" in caplog.text
            await asyncio.sleep(20)
            assert world.asked == [0, 1, 3, 7, 15]
            world.life = 600.0
            await asyncio.sleep(300)
            assert len(world.asked) == 6

    play(body())


# -- what the server says ----------------------------------------------------------------------------------


def test_one_that_the_server_rejects_after_a_while_is_replaced_at_once(play: Play, world: World) -> None:
    async def body() -> None:
        async with world.source() as source:
            first = await source.get()
            await asyncio.sleep(100)
            assert source.rejected(first)
            assert source.rejected(first)  # by a second user of it
            second = await source.get()
            assert world.asked == [0.0, 100.0]
            assert source.rejected(first)  # late news
            assert await source.get() is second

    play(body())


def test_rejections_in_succession_do_not_hammer_the_application(play: Play, world: World) -> None:
    async def body() -> None:
        async with world.source() as source:
            source.on_credential = lambda credential: world.loop.call_soon(source.rejected, credential)
            await source.get()
            await asyncio.sleep(0)
            with pytest.raises(CredentialError, match="the server did not accept it"):
                await source.get()
            await asyncio.sleep(200)
            assert world.asked == [0, 1, 3, 7, 15, 31, 63, 123, 183]

    play(body())


# -- time that jumps ---------------------------------------------------------------------------------------


def test_a_clock_that_is_put_forward_is_noticed_when_one_is_needed(play: Play, world: World) -> None:
    async def body() -> None:
        async with world.source() as source:
            first = await source.get()
            world.offset += 550  # between renewal and expiry: still good, and replaced in the background
            assert await source.get() is first
            await asyncio.sleep(0.1)
            assert world.asked == [0.0, 0.0]
            world.offset += 10_000  # the machine slept
            assert (await source.get()).username == "user3"

    play(body())


def test_a_clock_that_is_put_back_or_far_forward_moves_the_renewal(play: Play, world: World) -> None:
    async def body() -> None:
        world.life = 86_400.0
        async with world.source() as source:
            await source.get()
            world.offset += 80_000
            await asyncio.sleep(LONGEST_NAP * 2)
            assert world.asked == [0.0, 86_340 - 80_000]
            world.offset -= 3600
            await asyncio.sleep(90_000)
            assert world.asked[2:] == [6340 + 86_340 + 3600]

    play(body())


# -- ending ------------------------------------------------------------------------------------------------


def test_cancelling_a_wait_stops_no_attempt(play: Play, world: World) -> None:
    async def body() -> None:
        world.delay = 5.0
        async with world.source() as source:
            waits = [asyncio.ensure_future(source.get()) for _ in range(3)]
            await asyncio.sleep(1)
            waits[0].cancel()
            assert (await waits[1]) is (await waits[2])
            assert waits[0].cancelled()
        async with world.source() as source:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(source.get(), 1)
            await asyncio.sleep(5)
            assert source.current is not None  # though nobody was left who waited
            assert world.asked == [0.0, 5.0]

    play(body())


@pytest.mark.parametrize("delay", [0.0, 5.0])
def test_closing_wakes_who_waits_and_ends_the_function(play: Play, world: World, delay: float) -> None:
    async def body() -> None:
        world.delay = 1e6
        source = world.source()
        wait = asyncio.ensure_future(source.get())
        await asyncio.sleep(delay)
        source.close()
        await source.close()
        assert world.active == 0
        with pytest.raises(CredentialError, match="the source is closed"):
            await wait
        with pytest.raises(CredentialError, match="the source is closed"):
            await source.get()
        await source.close()

    play(body())


def test_closing_ends_renewals_and_forgets_the_secret(play: Play, world: World) -> None:
    async def body() -> None:
        source = world.source()
        credential = await source.get()
        source.close()
        assert source.current is None
        assert not source.rejected(credential)
        await asyncio.sleep(10_000)
        assert world.asked == [0.0]
        unused = world.source()
        await unused.close()

    play(body())


def test_an_error_of_the_function_while_closing_disturbs_nobody(play: Play, world: World) -> None:
    async def stubborn(server: IceServer) -> Credential:
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            raise OSError("while cleaning up") from None
        raise AssertionError

    async def body() -> None:
        source = world.source(stubborn)
        wait = asyncio.ensure_future(source.get())
        await asyncio.sleep(1)
        await source.close()
        with pytest.raises(CredentialError, match="closed"):
            await wait

    play(body())


def test_nothing_shows_a_secret(play: Play, world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        caplog.set_level(logging.DEBUG)
        world.failing = OSError(f"https://api.example.org/?key={SECRET}")
        async with world.source() as source:
            with pytest.raises(CredentialError) as caught:
                await source.get()
            shown = [str(caught.value), source.error, repr(source)]
            world.failing = None
            await asyncio.sleep(FIRST_RETRY + 0.1)
            shown += [repr(source), repr(await source.get())]
        shown += [repr(source), repr(IceServer(URL, "user", SECRET)), caplog.text]
        assert SECRET not in "".join(shown)
        assert "raised OSError" in caplog.text
        assert "user2" in shown[3]

    play(body())

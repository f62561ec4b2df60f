"""Credentials over time: what a TURN server asks for, fetched when it is needed and renewed before it expires.

`IceServer(credential=...)` takes a password, or a function that gets one from wherever the application has it. A
`CredentialSource` asks that function, keeps what it gives, and asks again in time.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import KW_ONLY, dataclass, field
from types import TracebackType
from typing import Any

from fasticePy.aio.callbacks import Callback, HasCallbacks
from fasticePy.aio.servers import IceServer
from fasticePy.aio.waiting import Signal
from fasticePy.errors import IceError
from fasticePy.stun.client_auth import LongTermCredentials, TokenCredentials

RENEWAL_MARGIN = 60.0
"""Seconds before its expiry at which a credential is renewed, at the earliest."""
RENEWAL_SHARE = 0.1
"""The same as a share of its life, which is less for a life of under ten minutes."""
FETCH_TIMEOUT = 10.0
"""Seconds that the application's function has for one answer."""
FIRST_RETRY = 1.0
"""Seconds from a failure to the next attempt; each further failure doubles them."""
LONGEST_RETRY = 60.0
"""Seconds between two attempts at most."""
LONGEST_NAP = 3600.0
"""Seconds after which the clock is looked at in any case: somebody may have set it."""

_EXPIRY_IN_NAME = re.compile(r"([0-9]{9,11}):", re.ASCII)
_log = logging.getLogger("fasticePy.turn")


class CredentialError(IceError):
    """There is no credential; the text says why. What the application's function raised is its `__cause__`."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a TURN server asks for: user name and password, or an access token (RFC 7635).

    `expires_at` is Unix time in seconds. When it is not given it is read from a user name of the form
    `<Unix time>:<name>`, which servers with a shared secret use; None means that the credential does not expire.
    Raises ValueError for what cannot be.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    _: KW_ONLY
    expires_at: float | None = None
    token: TokenCredentials | None = None

    def __post_init__(self) -> None:
        if self.token is None:
            if self.username is None or self.password is None:
                raise ValueError("a credential is a user name and a password, or an access token")
            LongTermCredentials(self.username, self.password)  # raises for what cannot be prepared
        elif self.username is not None or self.password is not None:
            raise ValueError("a user name and a password beside an access token belong into its fallback")
        if self.expires_at is not None and not math.isfinite(self.expires_at):
            raise ValueError(f"expires_at is Unix time in seconds, not {self.expires_at}")
        if self.expires_at is None and (found := _EXPIRY_IN_NAME.match(self.username or "")):
            object.__setattr__(self, "expires_at", float(found[1]))

    @property
    def mechanism(self) -> LongTermCredentials | TokenCredentials:
        """The form in which requests are signed with it."""
        if self.token is not None:
            return self.token
        return LongTermCredentials(self.username or "", self.password or "")

    def expired(self, now: float) -> bool:
        """Whether it is no good any more at `now`, Unix time in seconds."""
        return self.expires_at is not None and self.expires_at <= now


class CredentialSource(HasCallbacks):
    """The credential of one `IceServer`, which has one (ValueError otherwise).

    A password costs nothing: no task and no timer. A function is asked at the first `get()`, and from then on before
    each expiry, until the source is closed; failures are repeated with growing pauses. It is never asked twice at a
    time. The source belongs to the event loop in which `get()` is first awaited. `clock` gives Unix time in seconds.
    """

    def __init__(self, server: IceServer, *, clock: Callable[[], float] = time.time) -> None:
        if server.credential is None:
            raise ValueError(f"{server.urls[0]}: the server has no credential")
        self._server = server
        self._clock = clock
        self._current: Credential | None = None
        self._supply = server.credential if callable(server.credential) else None
        if isinstance(server.credential, str):
            self._current = Credential(server.username, server.credential)
        self._task: asyncio.Task[Credential] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._changed = Signal()
        self._attempts = 0
        self._renew_at = math.inf  # of the clock
        self._waiting = False  # for the next attempt, after a failure
        self._late = False  # the credential had expired when it came
        self._arrived = -math.inf  # of the event loop's time
        self._failures = 0
        self._refusals = 0
        self._cause: BaseException | None = None
        self._closed = False
        self.error = ""
        """Why the latest attempt failed; empty when it did not."""

    on_credential = Callback[[Credential]]()
    """`on_credential(credential)`: one that is new has come, by a renewal or for the first time."""

    def __repr__(self) -> str:
        state = "closed" if self._closed else repr(self._current or self.error or "not fetched yet")
        return f"<CredentialSource {self._server.urls[0]}: {state}>"

    @property
    def current(self) -> Credential | None:
        """The latest credential, which may have expired."""
        return self._current

    async def get(self) -> Credential:
        """A credential that is good now. Cancelling the wait stops no attempt.

        Raises CredentialError when the attempt fails, and at once while a pause after a failure lasts: the source goes
        on by itself, and `on_credential` tells when it has succeeded.
        """
        if self._closed:
            raise self._unavailable()
        if self._supply is None and self._current is not None:
            return self._current
        now = self._clock()
        if self._good(now):
            if now >= self._renew_at and not self._waiting:  # the timer is late: the machine slept, say
                self._begin()
        else:
            if self._waiting:
                raise self._unavailable()
            attempts = self._attempts
            self._begin()
            await self._changed.wait_for(lambda: self._closed or self._attempts != attempts)
        if self._current is None or not self._good(self._clock()):
            raise self._unavailable()
        return self._current

    def rejected(self, credential: Credential) -> bool:
        """The server did not accept it. Another one is fetched, at once if this one was good for a while. False when
        there will be none: a password that is wrong stays wrong."""
        if self._supply is None or self._closed:
            return False
        if credential != self._current:
            return True
        self._current = None
        if asyncio.get_running_loop().time() - self._arrived >= LONGEST_RETRY:
            self._refusals = 0
            self._begin()
        else:
            self._refusals += 1
            self.error = "the server did not accept it"
            self._cause = None
            if self._task is None:
                self._pause()
        return True

    def close(self) -> Awaitable[None]:
        """End at once, and idempotently: who waits in `get` gets a CredentialError. Awaiting what it returns makes sure
        that the application's function, too, has ended; not awaiting it is fine."""
        self._closed = True
        self._current = None
        self._cause = None
        self._disarm()
        if self._task is not None:
            self._task.cancel()
        self._changed.notify()
        return _Ending(self._task)

    async def __aenter__(self) -> CredentialSource:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # -- asking the application ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._task is not None:
            return
        self._disarm()
        self._task = asyncio.get_running_loop().create_task(self._ask(), name="fasticePy credential")
        self._task.add_done_callback(self._ended)

    async def _ask(self) -> Credential:
        assert self._supply is not None
        answer = self._supply(self._server)
        if inspect.isawaitable(answer):
            fetching = asyncio.ensure_future(answer)
            # before Python 3.12, what it raises while it is being cancelled is nobody's
            fetching.add_done_callback(lambda done: done.cancelled() or done.exception())
            answer = await asyncio.wait_for(fetching, FETCH_TIMEOUT)
        if isinstance(answer, str):
            if self._server.username is None:
                raise CredentialError("a password came, and the server has no user name")
            answer = Credential(self._server.username, answer)
        if not isinstance(answer, Credential):
            raise CredentialError(f"{type(answer).__name__} came in place of a Credential or a password")
        return answer

    def _ended(self, task: asyncio.Task[Credential]) -> None:
        self._task = None
        error = None if task.cancelled() else task.exception()
        if self._closed:
            return
        self._attempts += 1
        if task.cancelled():
            self._failed("the function was cancelled", None)
        elif error is None:
            self._arrive(task.result())
        elif isinstance(error, CredentialError):
            self._failed(str(error), error)
        else:  # its text may hold a secret: a URL with a token in it, say
            self._failed(f"the function raised {type(error).__name__}", error)

    def _failed(self, reason: str, cause: BaseException | None) -> None:
        self.error = reason
        self._cause = cause
        self._failures += 1
        _log.warning("%s: no credential, attempt %d: %s", self._server.urls[0], self._failures, reason)
        self._pause()
        self._changed.notify()

    def _arrive(self, credential: Credential) -> None:
        new = credential != self._current
        now = self._clock()
        self._current = credential
        self._arrived = asyncio.get_running_loop().time()
        self.error, self._cause = "", None
        self._late = credential.expired(now)
        if self._late:
            # it may be this host's clock that is wrong, so let the server judge; but do not ask without a pause
            self._failures += 1
            _log.warning(
                "%s: the credential has expired %.0f s before it came: is the clock of this host right?",
                self._server.urls[0],
                now - (credential.expires_at or now),
            )
            self._renew_at = math.inf
            self._pause()
        else:
            self._failures = 0
            self._renew_at = _renewal(credential, now)
            self._arm()
        self._changed.notify()
        if new and self.on_credential is not None:
            self.on_credential(credential)

    # -- time --------------------------------------------------------------------------------------------------------

    def _good(self, now: float) -> bool:
        return self._current is not None and (self._late or not self._current.expired(now))

    def _arm(self) -> None:
        """Wake up for the renewal, or to see how far off it is now."""
        if self._renew_at == math.inf:
            return
        delay = min(max(self._renew_at - self._clock(), FIRST_RETRY), LONGEST_NAP)
        self._timer = asyncio.get_running_loop().call_later(delay, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._clock() < self._renew_at:
            self._arm()
        else:
            self._begin()

    def _pause(self) -> None:
        """Try again after a pause, longer with each failure and refusal in succession."""
        self._disarm()
        self._waiting = True
        pause = FIRST_RETRY * 2 ** min(self._failures + self._refusals - 1, 10)
        self._timer = asyncio.get_running_loop().call_later(min(pause, LONGEST_RETRY), self._begin)

    def _disarm(self) -> None:
        self._waiting = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _unavailable(self) -> CredentialError:
        reason = "the source is closed" if self._closed else self.error or "it has expired"
        error = CredentialError(f"{self._server.urls[0]}: no credential: {reason}")
        error.__cause__ = self._cause
        return error


def _renewal(credential: Credential, now: float) -> float:
    """When to renew a credential that came at `now`."""
    if credential.expires_at is None:
        return math.inf
    return credential.expires_at - min(RENEWAL_MARGIN, RENEWAL_SHARE * (credential.expires_at - now))


class _Ending(Awaitable[None]):
    """Awaits the end of a task that was cancelled, if there is one."""

    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[Credential] | None) -> None:
        self._task = task

    def __await__(self) -> Generator[Any, None, None]:
        if self._task is not None:
            yield from asyncio.wait((self._task,)).__await__()

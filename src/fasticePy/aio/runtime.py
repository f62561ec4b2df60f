"""What an agent and its streams share while they run: the machine, its driver, the clock, and how callbacks are
called."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from fasticePy.aio.driver import Driver
from fasticePy.aio.waiting import Signal
from fasticePy.ice import IceAgent, IceFailed, Report

log = logging.getLogger("fasticePy.ice")


class Runtime:
    """One agent's. `owner` is the agent, for error messages; `read_addresses()` tells the machine which addresses the
    host has now."""

    __slots__ = ("changed", "closed", "continual", "driver", "machine", "name", "owner", "read_addresses")

    def __init__(
        self, machine: IceAgent, owner: object, read_addresses: Callable[[], None], *, continual: bool
    ) -> None:
        self.machine = machine
        self.owner = owner
        self.read_addresses = read_addresses
        self.continual = continual
        self.driver: Driver | None = None
        """None until the agent is used in an event loop."""
        self.changed = Signal()
        """Something that coroutines wait for may be there."""
        self.closed = False
        self.name = machine.local_credentials.ufrag
        """What the agent is called in the log."""

    now = staticmethod(time.monotonic)
    """Seconds of the clock that the machine lives by."""

    def wake(self) -> None:
        """The machine was given something: take out what it answers, in the next turn of the event loop."""
        if self.driver is not None:
            self.driver.wake()

    def call(self, callback: Callable[..., object] | None, *arguments: object) -> None:
        """Call a callback of the application, if there is one."""
        if callback is None:
            return
        try:
            callback(*arguments)
        except Exception as error:  # noqa: BLE001 - an application's mistake must not stop the agent
            self.complain(error)

    def complain(self, error: Exception) -> None:
        """Something of the application has raised."""
        context = {
            "message": f"a callback of {self.owner!r} raised",
            "exception": error,
            "agent": self.owner,
        }
        if self.driver is None:
            log.error("%s", context["message"], exc_info=error)
        else:
            self.driver.loop.call_exception_handler(context)

    def report(self) -> Report:
        """What was tried and what came back."""
        return self.machine.report(self.now())

    def failure(self, reason: str) -> IceFailed:
        """The exception for those who wanted something of an agent that has failed for this reason, or is closed."""
        report = self.report()
        if self.closed:
            return IceFailed("the agent was closed", report)
        return IceFailed(f"{reason}: {report.conclusion}", report)

"""The exceptions that people see. Input from the wire never raises out of a receive path; these come from calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasticePy._native.stun import ParseError

if TYPE_CHECKING:
    from fasticePy.ice.report import Report

__all__ = ["IceError", "IceFailed", "ParseError", "StateError", "StunError"]


class IceError(Exception):
    """The root of this package's exceptions, except `ParseError`, which is a ValueError."""


class StateError(IceError, RuntimeError):
    """The call does not fit the state that the object is in; the text says what to do first."""


class StunError(IceError):
    """A STUN transaction ended without a usable answer."""


class IceFailed(IceError, ConnectionError):
    """No working path was found, or it was lost. `report` says what was tried and what came back."""

    def __init__(self, message: str, report: Report | None = None) -> None:
        super().__init__(message)
        self.report = report

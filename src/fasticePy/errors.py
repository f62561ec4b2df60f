"""The exceptions that people see. Input from the wire never raises out of a receive path; these come from calls."""

from __future__ import annotations

from fasticePy._native.stun import ParseError

__all__ = ["IceError", "ParseError", "StateError"]


class IceError(Exception):
    """The root of this package's exceptions, except `ParseError`, which is a ValueError."""


class StateError(IceError, RuntimeError):
    """The call does not fit the state that the object is in; the text says what to do first."""

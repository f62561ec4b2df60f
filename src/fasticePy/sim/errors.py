"""What goes wrong in a simulation itself, as opposed to what it simulates."""

from __future__ import annotations


class SimulationError(Exception):
    """The simulation cannot go on, or a call makes no sense in it; the text says why."""


class LimitReached(SimulationError):
    """`run_until` waited in vain; the text says where every node stands."""


class BindError(SimulationError):
    """A host refused to open a socket, as an operating system would; the text is its reason."""

"""ICE, STUN and TURN for Python."""

from __future__ import annotations

from fasticePy._version import __version__

__all__ = ["__version__"]

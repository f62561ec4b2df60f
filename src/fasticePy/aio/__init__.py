"""The asyncio runtime: sockets, interfaces, names and time for the machines of `fasticePy.ice`."""

from __future__ import annotations

"""Reading packet captures: the file formats, the packets in them, and the STUN and TURN messages in the packets.

Captures come from anybody: nothing here raises for what is in a file but `ParseError`, and what is kept has limits.
"""

from __future__ import annotations

from fasticePy.cli.capture.analysis import Analysis, Finding
from fasticePy.cli.capture.files import Record, is_capture, read_capture
from fasticePy.cli.capture.packets import Packet, dissect

__all__ = ["Analysis", "Finding", "Packet", "Record", "dissect", "is_capture", "read_capture"]

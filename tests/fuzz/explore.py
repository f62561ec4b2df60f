#!/usr/bin/env python3
"""Fuzzes one target where there is no atheris: `explore.py TARGET [SECONDS] [SEED]`.

Python itself tells when a line is reached for the first time (`sys.monitoring`, Python 3.12), at next to no cost.
Inputs that reach one are kept, and changed further. It sees less than libFuzzer does, and nothing of the compiled
modules. What fails is left in the current folder; one input for each place.
"""

from __future__ import annotations

import hashlib
import random
import sys
import time
import traceback
from pathlib import Path
from types import CodeType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from corpus import SEEDS, failed_once
from targets import TARGETS

MAX_SIZE = 1024


class Lines:
    """How many lines of ours were reached."""

    def __init__(self) -> None:
        self.reached = 0
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        tool = monitoring.COVERAGE_ID
        monitoring.use_tool_id(tool, "explore")
        monitoring.register_callback(tool, monitoring.events.LINE, self._line)
        self._enough = monitoring.DISABLE
        monitoring.set_events(tool, monitoring.events.LINE)

    def _line(self, code: CodeType, number: int) -> object:
        self.reached += "fasticePy" in code.co_filename
        return self._enough


def change(data: bytes, kept: list[bytes], chance: random.Random) -> bytes:
    """Another input."""
    changed = bytearray(data)
    for _ in range(1 << chance.randrange(5)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(6):
            case 0:
                changed[at : at + 1] = bytes([chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))])
            case 1:
                del changed[at : at + chance.randrange(9)]
            case 2:
                changed[at:at] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 5)))
            case 3:  # a part of another one
                other = chance.choice(kept)
                begin = chance.randrange(len(other) + 1)
                changed[at:at] = other[begin : begin + chance.randrange(65)]
            case 4:  # a part of itself again
                begin = chance.randrange(len(changed) + 1)
                changed[at:at] = changed[begin : begin + chance.randrange(17)] * chance.randrange(1, 4)
            case _:
                if at < len(changed):
                    changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed[:MAX_SIZE])


def place_of(error: Exception) -> str:
    """Where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"


def main() -> int:
    """Run until the time is over."""
    name, seconds = sys.argv[1], float([*sys.argv, "60"][2])
    chance = random.Random([*sys.argv, "0", "0"][3])
    target, lines = TARGETS[name], Lines()
    kept = [*SEEDS[name](), *failed_once(name)]
    waiting = list(kept)
    found: dict[str, bytes] = {}
    executions, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        data = waiting.pop() if waiting else change(chance.choice(kept), kept, chance)
        before = lines.reached
        try:
            target(data)
        except Exception as error:  # noqa: BLE001 - what is looked for
            if (place := place_of(error)) not in found:
                found[place] = data
                path = Path(f"{name}-{hashlib.sha1(data, usedforsecurity=False).hexdigest()[:12]}")
                path.write_bytes(data)
                print(f"{place}: {path}", flush=True)
        executions += 1
        if lines.reached > before:
            kept.append(data)
    print(
        f"{name}: {executions} executions, {lines.reached} lines, {len(kept)} inputs kept, {len(found)} failed"
    )
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())

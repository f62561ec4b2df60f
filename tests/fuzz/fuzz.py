#!/usr/bin/env python3
"""Fuzzes one target with atheris: `fuzz.py TARGET [libFuzzer's arguments]`. `tools/fuzz.sh` installs what it needs.

The Python code is instrumented here; the compiled modules bring their own counters when they were built with
FASTICEPY_BUILD=fuzz.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fasticePy"]):
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from targets import TARGETS


def main() -> None:
    """Runs until libFuzzer's limits are reached or something is found; it ends the process itself."""
    target = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

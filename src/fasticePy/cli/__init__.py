"""The `fasticepy` command: one module per verb, all of them listed in `fasticePy.cli.app.COMMANDS`."""

from __future__ import annotations

from fasticePy.cli.app import main

__all__ = ["main"]

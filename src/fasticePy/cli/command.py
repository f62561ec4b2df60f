"""What a command is made of, and the exit codes that all commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What a command tells the shell."""

    OK = 0
    DEGRADED = 1
    """It works, but something that was asked for does not: a server that did not answer, for instance."""
    FAILED = 2
    USAGE = 64
    """The command line makes no sense (EX_USAGE of sysexits.h)."""
    INTERRUPTED = 130
    """Ended by Ctrl-C, as shells report it."""


class UsageError(Exception):
    """An argument that argparse took but that makes no sense; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Command:
    """One verb of `fasticepy`: how it is listed, which arguments it takes and what it does."""

    name: str
    summary: str
    """One line for the list of commands."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    """Does the work; gives the exit code. May raise `UsageError`."""

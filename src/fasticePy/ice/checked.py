"""What is asked of the values of options, and the errors that say so."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Set


def flag(name: str, value: object) -> None:
    """Raise TypeError unless it is True or False: the text "no" counts as true where nobody looks."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {value!r}")


def count(name: str, value: object, least: int, most: int | None = None, why: str = "") -> None:
    """Raise TypeError for what is no whole number, ValueError for one that is too small or too large."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is a whole number, not {value!r}")
    if value < least or (most is not None and value > most):
        possible = f"{least} or more is possible" if most is None else f"{least} to {most} are possible"
        raise ValueError(f"{name}={value}: {possible}{why}")


def seconds(name: str, value: object, *, zero: bool = False) -> None:
    """Raise TypeError for what is no number, ValueError for one that is no time: negative, infinite, not a number, or
    zero where that makes no sense."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} is a number of seconds, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(
            f"{name}={value}: a finite number of seconds is wanted; for never, take a very large one"
        )
    if value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name}={value}: {'0 or more' if zero else 'more than 0'} seconds are possible")


def kinds(name: str, value: object, known: Collection[str]) -> None:
    """Raise TypeError for what is no set, ValueError for unknown members."""
    if not isinstance(value, Set):
        raise TypeError(f"{name} is a set of {', '.join(sorted(known))}, not {value!r}")
    members(name, value, known)


def members(name: str, values: Iterable[object], known: Collection[str]) -> None:
    """Raise ValueError for what is not among the known ones."""
    if unknown := [each for each in values if each not in known]:
        names = ", ".join(sorted(map(str, unknown)))
        raise ValueError(f"{name}: {names} is none of {', '.join(sorted(known))}")


def one_of(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise ValueError for what is not among the choices."""
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(f"{name} is one of {', '.join(choices)}, not {value!r}")


def instance(name: str, value: object, kind: type, *, optional: bool = False) -> None:
    """Raise TypeError for what is not of this class."""
    if not (isinstance(value, kind) or (optional and value is None)):
        raise TypeError(f"{name} is of type {kind.__name__}{' or None' if optional else ''}, not {value!r}")


def function(name: str, value: object) -> None:
    """Raise TypeError for what is neither a function nor None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} is a function or None, not {value!r}")

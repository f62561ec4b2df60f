"""Virtual time: a clock that moves only when it is told to."""

from __future__ import annotations


class VirtualClock:
    """Seconds as a float, like a monotonic clock, but still until somebody moves it."""

    __slots__ = ("_now",)

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    @property
    def now(self) -> float:
        """The time in seconds."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Move on by `seconds` and give the new time. Raises ValueError when that would go back."""
        return self.advance_to(self._now + seconds)

    def advance_to(self, at: float) -> float:
        """Move on to `at` (seconds) and give it. Raises ValueError when that would go back."""
        if not at >= self._now:  # also refuses a time that is not a number
            raise ValueError(f"a monotonic clock does not go from {self._now} to {at}")
        self._now = at
        return at

"""A clock that stands still until it is told to move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class FrozenClock:
    """Shows one instant (aware; kept in UTC) until moved; satisfies `tollkeeper.clock.Clock`.

    `monotonic` counts the seconds advanced and, like the real one, never goes back.
    """

    def __init__(self, at: datetime) -> None:
        self._now = _in_utc(at)
        self._elapsed = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed

    def advance(self, by: timedelta) -> datetime:
        """Moves by that much (backwards too, as real clocks do) and answers the new present."""
        return self.set(self._now + by)

    def set(self, at: datetime) -> datetime:
        """Moves to that instant and answers it."""
        moved = _in_utc(at)
        self._elapsed += max(0.0, (moved - self._now).total_seconds())
        self._now = moved
        return moved


def _in_utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError("a clock needs an aware datetime, such as datetime(2026, 11, 1, tzinfo=UTC)")
    return at.astimezone(UTC)

"""The one place that reads the time.

Everything that needs to know what time it is takes a `Clock`; nothing else calls `datetime.now` or `time.time`.
All times are timezone-aware UTC.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """What time it is, and how much time has passed."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary point, never going back; for durations only."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class ShiftedClock(SystemClock):
    """The machine's clock plus the number of seconds written in a file.

    Several processes that watch the same file travel through time together: that is how a rehearsal goes through a whole
    billing period in a minute. A missing or unreadable file means no shift.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self._shift())

    def _shift(self) -> int:
        try:
            return int(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

"""Retrying: when a call that came to nothing is made again."""

from __future__ import annotations

from datetime import timedelta

LONGEST_WAIT = timedelta(minutes=30)
_SHORTEST_WAIT = timedelta(seconds=5)


def wait_after(attempts: int, named_seconds: float | None = None) -> timedelta:
    """Twice as long after every attempt, or what the other side asked for."""
    if named_seconds is not None:
        return timedelta(seconds=named_seconds)
    doublings = max(0, min(attempts - 1, 16))
    return min(_SHORTEST_WAIT * (1 << doublings), LONGEST_WAIT)

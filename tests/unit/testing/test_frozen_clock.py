from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from tollkeeper.clock import Clock
from tollkeeper.testing import FrozenClock

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def test_it_stands_still_until_it_is_moved() -> None:
    clock: Clock = FrozenClock(NOON)

    assert clock.now() == clock.now() == NOON
    assert clock.monotonic() == clock.monotonic() == 0.0


def test_advancing_moves_both_readings() -> None:
    clock = FrozenClock(NOON)

    assert clock.advance(timedelta(minutes=2)) == NOON + timedelta(minutes=2)
    assert clock.now() == NOON + timedelta(minutes=2)
    assert clock.monotonic() == 120.0


def test_the_wall_clock_can_step_back_but_durations_never_do() -> None:
    clock = FrozenClock(NOON)
    clock.advance(timedelta(seconds=10))

    clock.set(NOON - timedelta(hours=1))

    assert clock.now() == NOON - timedelta(hours=1)
    assert clock.monotonic() == 10.0


def test_any_aware_time_is_kept_in_utc() -> None:
    two_hours_east = timezone(timedelta(hours=2))

    shown = FrozenClock(datetime(2026, 11, 1, 14, tzinfo=two_hours_east)).now()

    assert shown == NOON
    assert shown.tzinfo is UTC


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        FrozenClock(datetime(2026, 11, 1, 12))
    with pytest.raises(ValueError, match="aware"):
        FrozenClock(NOON).set(datetime(2026, 11, 1, 12))

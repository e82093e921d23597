"""How far the journal of a machine lets its usage be taken as complete."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.usage import Usage
from tollkeeper.services.journaling import Journal, complete_until, refuse

MIDNIGHT = datetime(2026, 12, 1, tzinfo=UTC)
NOW = MIDNIGHT + timedelta(minutes=10)


def event(at: datetime) -> UsageEvent:
    return UsageEvent(uuid4(), "ada", at, Usage("gpt-4o", 1), 200)


def test_an_empty_journal_is_complete_until_now(tmp_path: Path) -> None:
    assert complete_until(tmp_path / "nowhere", NOW) == NOW
    refuse(tmp_path, event(MIDNIGHT), ValueError("for a person"))
    assert complete_until(tmp_path, NOW) == NOW


def test_what_waits_holds_it_back_to_the_first_event_of_any_process(tmp_path: Path) -> None:
    for seconds in (-90, 30, -200):
        journal = Journal(tmp_path)
        journal.append([event(MIDNIGHT + timedelta(seconds=seconds)), event(NOW)])
        journal.hand_over()
    assert complete_until(tmp_path, NOW) == MIDNIGHT - timedelta(seconds=200)


def test_what_has_waited_for_more_than_an_hour_holds_nothing_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([event(NOW - timedelta(hours=1))])
    assert complete_until(tmp_path, NOW) == NOW
    assert complete_until(tmp_path, NOW - timedelta(seconds=1)) == NOW - timedelta(hours=1)

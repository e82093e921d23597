"""Usage that nobody could be charged for is kept, shown, and billed once its cause is mended; never twice, and never lost."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from integration.importing.conftest import PLANS, Desk, row
from tollkeeper.domain.errors import InvalidInput, NotFound, StoreUnavailable
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.plan_file import parse_plans
from tollkeeper.domain.usage import Usage
from tollkeeper.services import importing
from tollkeeper.services.importing import ImportSummary
from tollkeeper.services.journaling import count_refused, refuse
from tollkeeper.services.onboarding import add_customer
from tollkeeper.services.planning import apply_plans
from tollkeeper.services.quarantining import Retried, collect_refused, drop, list_quarantined, retry
from tollkeeper.storage.database import Database

ADDED = datetime(2026, 11, 1, tzinfo=UTC)


def hire(desk: Desk, user_id: str, plan: str = "pro") -> None:
    add_customer(desk.database, user_id, email=f"{user_id}@example.com", plan_id=plan, now=ADDED)


def test_rejected_rows_are_kept_once_with_what_they_said_and_why(desk: Desk) -> None:
    rows = (row(1), row(2, user_id="eve"), row(3, timestamp="2026-12-24T00:00:00Z"), row(4, tokens_in=-1))
    for _ in range(2):
        desk.take_rows(*rows)
    found = {one.event_id: one for one in list_quarantined(desk.database)}
    assert {event_id: one.reason for event_id, one in found.items()} == {
        str(UUID(int=2)): "user_id: expected a customer that exists",
        str(UUID(int=3)): "timestamp: expected a time that is not in the future",
        str(UUID(int=4)): "tokens_in: expected a whole number from 0 to 2^63 - 1",
    }
    assert {one.attempts for one in found.values()} == {2}
    assert found[str(UUID(int=2))].user_id == "eve"


@pytest.mark.parametrize(
    ("wrong", "mend"),
    [
        (row(2, user_id="eve"), lambda desk: hire(desk, "eve")),
        (row(2, timestamp="2026-11-15T15:00:00Z"), lambda desk: desk.clock.set(datetime(2026, 11, 16, tzinfo=UTC))),
    ],
)
def test_a_row_comes_back_once_what_it_was_refused_for_is_mended(
    desk: Desk, wrong: dict[str, object], mend: Callable[[Desk], object]
) -> None:
    desk.take_rows(row(1), wrong)
    assert retry(desk.database, desk.clock.now()) == Retried(waiting=1)
    mend(desk)
    assert retry(desk.database, desk.clock.now()) == Retried(accepted=1)
    assert retry(desk.database, desk.clock.now()) == Retried()
    assert len(desk.events()) == 2
    assert [one.state for one in list_quarantined(desk.database, everything=True)] == ["accepted"]


def test_a_row_without_a_price_waits_for_one_where_the_plan_refuses_it(desk: Desk) -> None:
    strict = PLANS.replace("plans.pro", "plans.strict").replace("quota_tokens", 'unpriced = "refuse"\nquota_tokens')
    strict = strict.replace("per = 1_000", 'model = "gpt-4o*"\nper = 1_000')
    apply_plans(desk.database, parse_plans(strict), ADDED)
    hire(desk, "eve", "strict")
    wrong = row(1, user_id="eve", model_id="mystery")
    assert desk.take_rows(wrong, row(2, user_id="eve")) == ImportSummary(accepted=1, rejected=1)
    [one] = list_quarantined(desk.database)
    assert (
        one.reason == "model_id: expected one that the customer's plan has a price for, because it refuses the others"
    )
    apply_plans(desk.database, parse_plans(strict.replace("gpt-4o*", "*")), ADDED, immediate=True)
    assert retry(desk.database, desk.clock.now()) == Retried(accepted=1)


def test_a_row_of_csv_comes_back_as_well(desk: Desk) -> None:
    text = (
        "id,user_id,timestamp,model_id,tokens_in,tokens_out,units,complete\n"
        f'{UUID(int=1)},eve,2026-11-03T10:00:00Z,gpt-4o,7,1,"{{""images"": 2.5}}",false\n'
    )
    desk.take(io.BytesIO(text.encode()), "csv")
    hire(desk, "eve")
    assert retry(desk.database, desk.clock.now()) == Retried(accepted=1)
    [event] = desk.events()
    assert (event["tokens_in"], event["units"], event["complete"]) == (7, {"images": "2.5"}, False)


def test_what_is_no_row_at_all_is_kept_and_never_becomes_one(desk: Desk) -> None:
    desk.take(io.BytesIO(b'{"id": \n\x00\xff nonsense\n' + b"x" * 70_000 + b"\n"))
    assert sorted(one.payload for one in list_quarantined(desk.database)) == ['{"id":', "\ufffd\ufffd nonsense"]
    assert retry(desk.database, desk.clock.now()) == Retried(waiting=2)


def test_a_row_that_was_dropped_stays_to_be_seen_and_is_offered_no_more(desk: Desk) -> None:
    desk.take_rows(row(1, user_id="eve"), row(2, user_id="mallory"))
    [eve, mallory] = sorted(list_quarantined(desk.database), key=lambda one: one.user_id or "")
    assert drop(desk.database, [mallory.id], by="ada", reason="a test", now=desk.clock.now()) == 1
    for name in ("eve", "mallory"):
        hire(desk, name)
    assert retry(desk.database, desk.clock.now()) == Retried(accepted=1)
    desk.take_rows(row(3, user_id="nobody"))
    states = {one.user_id: one.state for one in list_quarantined(desk.database, everything=True)}
    assert states == {"eve": "accepted", "mallory": "dropped", "nobody": "waiting"}
    [act] = desk.rows("SELECT actor, reason FROM audit_trail WHERE kind = 'usage.dropped'")
    assert act == {"actor": "ada", "reason": "a test"}
    for again in (eve.id, uuid4()):
        with pytest.raises(NotFound):
            drop(desk.database, [again], by="ada", reason="a test", now=desk.clock.now())
    with pytest.raises(InvalidInput):
        drop(desk.database, [mallory.id], by="", reason="a test", now=desk.clock.now())


def test_some_rows_can_be_offered_by_name(desk: Desk) -> None:
    desk.take_rows(*(row(n, user_id="eve") for n in range(1, 4)))
    hire(desk, "eve")
    chosen = list_quarantined(desk.database)[1]
    assert retry(desk.database, desk.clock.now(), [chosen.id]) == Retried(accepted=1)
    assert [str(event["id"]) for event in desk.events()] == [chosen.event_id]


def test_a_file_that_is_wrong_from_end_to_end_does_not_fill_the_quarantine(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MOST_KEPT", 7)
    monkeypatch.setattr(importing, "BATCH", 5)
    assert desk.take_rows(*(row(n, user_id="eve") for n in range(20))) == ImportSummary(rejected=20)
    assert len(list_quarantined(desk.database)) == 7


class TestTheJournal:
    def event(self, user_id: str = "eve") -> UsageEvent:
        return UsageEvent(uuid4(), user_id, datetime(2026, 11, 3, 10, tzinfo=UTC), Usage("gpt-4o", 100, 10), 200)

    def test_hands_what_the_database_refused_over_and_starts_anew(self, desk: Desk, tmp_path: Path) -> None:
        first, second = self.event(), self.event()
        refuse(tmp_path, first, ValueError("no such customer"))
        refuse(tmp_path, second, ValueError("no such customer"))
        assert collect_refused(desk.database, tmp_path, desk.clock.now()) == 2
        assert count_refused(tmp_path) == 0
        assert collect_refused(desk.database, tmp_path, desk.clock.now()) == 0
        assert {one.event_id for one in list_quarantined(desk.database)} == {str(first.id), str(second.id)}
        hire(desk, "eve")
        assert retry(desk.database, desk.clock.now()) == Retried(accepted=2)
        assert [event["tokens_in"] for event in desk.events()] == [100, 100]
        refuse(tmp_path, self.event(), ValueError("again"))
        assert count_refused(tmp_path) == 1

    def test_keeps_everything_while_the_database_is_away_and_hands_it_over_once(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        refuse(tmp_path, self.event(), ValueError("no such customer"))
        with Database("postgresql://nobody@127.0.0.1:1/nowhere") as away, pytest.raises(StoreUnavailable):
            collect_refused(away, tmp_path, desk.clock.now())
        assert count_refused(tmp_path) == 1
        copy = (tmp_path / "refused").read_bytes()
        collect_refused(desk.database, tmp_path, desk.clock.now())
        (tmp_path / "refused").write_bytes(copy)  # killed between the commit and the emptying
        collect_refused(desk.database, tmp_path, desk.clock.now())
        assert len(list_quarantined(desk.database)) == 1

    def test_a_damaged_line_is_kept_for_a_person(self, desk: Desk, tmp_path: Path) -> None:
        (tmp_path / "refused").write_text('{"id": "half a li\n')
        assert collect_refused(desk.database, tmp_path, desk.clock.now()) == 1
        assert retry(desk.database, desk.clock.now()) == Retried(waiting=1)

    def test_a_request_is_never_refused_for_the_want_of_a_price(self, desk: Desk, tmp_path: Path) -> None:
        strict = PLANS.replace("plans.pro", "plans.strict").replace("quota_tokens", 'unpriced = "refuse"\nquota_tokens')
        apply_plans(desk.database, parse_plans(strict.replace("per =", 'model = "o1"\nper =')), ADDED)
        refuse(tmp_path, self.event(), ValueError("no such customer"))
        collect_refused(desk.database, tmp_path, desk.clock.now())
        hire(desk, "eve", "strict")
        assert retry(desk.database, desk.clock.now()) == Retried(accepted=1)
        assert [event["unpriced"] for event in desk.events()] == [True]


class TestASecondRun:
    def test_passes_over_what_is_stored_without_a_lock_or_a_write(self, desk: Desk) -> None:
        rows = [row(n) for n in range(1, 1_201)]
        assert desk.take_rows(*rows[:900]) == ImportSummary(accepted=900)
        [before] = desk.rows("SELECT version FROM usage_periods")
        assert desk.take_rows(*rows[:900]) == ImportSummary(duplicate=900)
        assert desk.rows("SELECT version FROM usage_periods") == [before]
        assert desk.take_rows(*rows) == ImportSummary(accepted=300, duplicate=900)
        [period] = desk.rows("SELECT events, tokens FROM usage_periods")
        assert (period["events"], int(period["tokens"])) == (1_200, 1_200 * 110)

    def test_still_tells_another_content_from_the_same(self, desk: Desk) -> None:
        desk.take_rows(row(1), row(2))
        assert desk.take_rows(row(1), row(2, tokens_in=7), row(3), row(3)) == ImportSummary(
            accepted=1, duplicate=2, rejected=1
        )
        assert desk.rejected == ["2: id: expected one that was not seen before with other content"]

    def test_takes_the_place_of_a_lost_request_as_the_first_does(self, desk: Desk) -> None:
        event = UsageEvent(
            UUID(int=1), "ada", datetime(2026, 11, 3, 10, tzinfo=UTC), Usage("gpt-4o"), complete=False,
            state="not_reported", billable=False,
        )  # fmt: skip
        store = replace(event, id=UUID(int=2))
        from integration.closing.ledger import Ledger

        Ledger(desk.database).store([event, store], ADDED + timedelta(days=3))
        assert desk.take_rows(row(1)) == ImportSummary(accepted=1)

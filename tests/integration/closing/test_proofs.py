"""A month that many share is proven in one reading of its events; whatever that leaves in doubt is counted by itself."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from integration.closing.ledger import CENT, DECEMBER, NOVEMBER, Ledger
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.period import Period
from tollkeeper.domain.usage import Usage, sum_of_calls
from tollkeeper.services.closing import ClosingSummary
from tollkeeper.services.reversing import reverse
from tollkeeper.storage.periods import Due
from tollkeeper.storage.proofs import proven_versions, shared_spans

SPAN = Period(NOVEMBER, DECEMBER)
DUE = Due(DECEMBER, DECEMBER, heed_holds=False)


def proven(ledger: Ledger) -> list[str]:
    with ledger.database.transaction() as connection:
        return sorted(user_id for user_id, _ in proven_versions(connection, DUE, SPAN))


@pytest.fixture
def crowd(ledger: Ledger) -> Ledger:
    """Five customers with plain usage of two models each."""
    ledger.plan(CENT)
    for n in range(5):
        ledger.customer(f"user-{n}")
        ledger.use(f"user-{n}", tokens_in=10, tokens_out=n, cached_tokens_in=3)
        ledger.use(f"user-{n}", tokens_in=7, cache_write_tokens_in=7, model="claude")
    return ledger


def test_plain_usage_is_proven_at_its_version(crowd: Ledger) -> None:
    with crowd.database.transaction() as connection:
        versions = proven_versions(connection, DUE, SPAN)
    rows = crowd.rows("SELECT user_id, period_start, version FROM usage_periods")
    assert versions == {(row["user_id"], row["period_start"]): row["version"] for row in rows}


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE usage_events SET tokens_in = 11 WHERE user_id = 'user-1' AND model_id = 'gpt-4o'",
        "DELETE FROM usage_events WHERE user_id = 'user-1' AND model_id = 'claude'",
        "UPDATE usage_events SET model_id = 'other' WHERE user_id = 'user-1' AND model_id = 'claude'",
        """INSERT INTO usage_events (id, user_id, "timestamp", model_id, tokens_in, cost_units, recorded_at)
           VALUES (gen_random_uuid(), 'user-1', '2026-11-03', 'behind', 5, 5, '2026-11-03')""",
        "UPDATE usage_events SET billable = false WHERE user_id = 'user-1' AND model_id = 'claude'",
        "UPDATE usage_periods SET events = 3 WHERE user_id = 'user-1'",
        """UPDATE usage_periods SET totals = totals || '{"more": {"input": 1}}' WHERE user_id = 'user-1'""",
        "UPDATE usage_periods SET totals = totals - 'claude' WHERE user_id = 'user-1'",
        """UPDATE usage_periods SET totals = jsonb_set(totals, '{claude,images}', '1') WHERE user_id = 'user-1'""",
    ],
)
def test_what_does_not_agree_is_not_proven_and_parked_by_the_close(crowd: Ledger, damage: str) -> None:
    assert crowd.tamper(damage) == 1
    assert proven(crowd) == ["user-0", "user-2", "user-3", "user-4"]
    assert crowd.close(chunk=2) == ClosingSummary(closed=4, invoices=4, parked=1)
    assert crowd.period("user-1")["status"] == "parked"


def test_units_minutes_mixed_requests_and_reversals_are_counted_by_themselves_and_billed(crowd: Ledger) -> None:
    crowd.use("user-0", units={"images": Decimal("2.5")})
    crowd.use("user-1", compute_minutes=Decimal("0.25"))
    mixed = sum_of_calls([Usage("gpt-4o", 100), Usage("claude", 50)])
    crowd.store([UsageEvent(uuid4(), "user-2", NOVEMBER, mixed)], NOVEMBER)
    event = crowd.use("user-3", tokens_in=1_000)
    reverse(crowd.database, event.id, by="eve", reason="sent twice", now=DECEMBER)
    assert proven(crowd) == ["user-4"]
    assert crowd.close(chunk=2) == ClosingSummary(closed=5, invoices=5)


def test_usage_that_comes_between_the_proof_and_the_close_is_counted_again(
    crowd: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prove_then_use(*arguments: object) -> object:
        found = proven_versions(*arguments)  # type: ignore[arg-type] # handed through
        crowd.use("user-2", tokens_in=100, at=NOVEMBER + timedelta(days=2))
        crowd.tamper("UPDATE usage_events SET tokens_in = 101 WHERE tokens_in = 100")
        return found

    monkeypatch.setattr("tollkeeper.services.closing.proven_versions", prove_then_use)
    assert crowd.close(chunk=2) == ClosingSummary(closed=4, invoices=4, parked=1)
    assert crowd.period("user-2")["parked_reason"] == "gpt-4o input: 108 in the events, 107 in the running totals"


def test_only_months_that_more_share_than_a_chunk_are_worth_a_reading(crowd: Ledger) -> None:
    with crowd.database.transaction() as connection:
        assert shared_spans(connection, DUE, 4) == [SPAN]
        assert shared_spans(connection, DUE, 5) == []

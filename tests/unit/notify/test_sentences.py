"""What a notice says in a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from tollkeeper.domain.notice import KINDS
from tollkeeper.notify.sentences import sentence

PERIOD = {"period_start": "2026-11-01T00:00:00+00:00", "period_end": "2026-12-01T00:00:00+00:00"}
SPEND = {**PERIOD, "spent": 812, "spend_cap": 1000, "currency": "usd"}
INVOICE = {**PERIOD, "invoice_id": "1", "total_amount": 1234, "currency": "jpy"}
SAID: dict[str, tuple[dict[str, Any], str]] = {
    "quota.crossed": (
        {**PERIOD, "threshold": 80, "used_tokens": 812_345, "quota_tokens": 1_000_000},
        "ada has used 80 % of the quota: 812,345 of 1,000,000 tokens in the period from 2026-11-01",
    ),
    "spend_cap.near": (SPEND, "ada has spent $8.12 of a cap of $10.00 in the period from 2026-11-01"),
    "spend_cap.reached": (
        {**SPEND, "spent": 1003, "at_cap": "block"},
        "ada has spent $10.03 of a cap of $10.00 in the period from 2026-11-01: the cap is reached, requests are refused",
    ),
    "invoice.draft_ready": (INVOICE, "A draft invoice of ¥1,234 is ready for ada, period 2026-11-01 to 2026-12-01"),
    "invoice.finalized": (INVOICE, "The invoice of ¥1,234 for ada is final, period 2026-11-01 to 2026-12-01"),
    "payment.failed": (
        {**INVOICE, "attempt": 2, "next_attempt_at": None},
        "A payment of ¥1,234 by ada failed (attempt 2); there will be no further attempt by itself",
    ),
    "alarm.raised": ({"text": "totals\n differ"}, "ALARM ada: totals  differ"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_said_in_one_line(kind: str) -> None:
    payload, said = SAID[kind]
    assert sentence(kind, "ada", payload) == said


def test_a_cap_that_stops_requests_before_its_last_unit_is_told_as_such() -> None:
    said = sentence("spend_cap.reached", "ada", {**SPEND, "spent": 990, "at_cap": "block"})
    assert said == (
        "ada has spent $9.90 of a cap of $10.00 in the period from 2026-11-01: a request could have passed it, "
        "requests are refused"
    )


def test_a_name_cannot_break_the_line_turn_it_round_or_fill_it() -> None:
    payload, _ = SAID["spend_cap.near"]
    said = sentence("spend_cap.near", "a\u202eb\u2028c" + "x" * 1000, payload)
    assert said.startswith("a b c")
    assert len(said) < 400


def test_a_kind_of_a_later_version_is_told_by_its_name() -> None:
    assert sentence("moon.full", "ada", {}) == "moon.full"

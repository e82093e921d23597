"""Stripe's invoice in an event: what is read of it, and what of its money is not ours."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from tollkeeper.payments.invoice_event import InvoiceEvent

NOVEMBER, DECEMBER, JANUARY = (
    int(datetime(2026 + n // 12, n % 12 + 1, 1, tzinfo=UTC).timestamp()) for n in (10, 11, 12)
)
OURS = "6f1d8a52-0c8e-4f1e-9d43-5c7d3c1c8a77"


def line(amount: int, end: int, *, parent: str | None = "subscription_item_details", **metadata: str) -> dict[str, Any]:
    return {
        "amount": amount,
        "period": {"start": end - 2_592_000, "end": end},
        "parent": None if parent is None else {"type": parent},
        "metadata": metadata,
    }


def renewal(*lines: dict[str, Any], **more: Any) -> InvoiceEvent:
    """November's renewal: its usage, and fees of December."""
    about = {"id": "in_1", "currency": "USD", "period_end": DECEMBER, "lines": {"data": list(lines), "has_more": False}}
    return InvoiceEvent({"data": {"object": {**about, "total": sum(one["amount"] for one in lines), **more}}})


def test_usage_is_told_apart_from_fees_of_the_time_ahead_and_from_the_first_one() -> None:
    event = renewal(
        line(270, DECEMBER),
        line(50, DECEMBER),
        line(9_900, JANUARY),  # December's fee, in advance
        line(9_900, DECEMBER, parent="invoice_item_details", tollkeeper_first_fee="sub_1"),
        line(30, DECEMBER, parent="invoice_item_details", tollkeeper_invoice_id=OURS),  # late usage of ours
    )
    assert (event.total, event.usage_total) == (20_150, 350)
    assert list(event.differences(350 + 9_900, 9_900, "usd", "paid")) == []
    [said] = event.differences(351 + 9_900, 9_900, "usd", "paid")
    assert said == "Stripe's in_1 is over 350 usd of usage, ours over 351 usd of usage"


@pytest.mark.parametrize(
    "more",
    [
        {"lines": {"data": [line(5, DECEMBER)], "has_more": True}},
        {"lines": {"data": [line(5, DECEMBER, parent=None)], "has_more": False}},
        {"lines": {"data": [{**line(5, DECEMBER), "amount": "5"}], "has_more": False}},
        {"lines": {"data": "all"}},
        {"lines": None},
        {"period_end": "soon"},
    ],
)
def test_where_it_cannot_be_told_the_totals_are_compared(more: dict[str, Any]) -> None:
    event = renewal(line(5, DECEMBER), **more)
    assert event.usage_total is None
    assert list(event.differences(5, 0, "usd", "finalized")) == []
    assert list(event.differences(6, 0, "usd", "finalized")) == ["Stripe's in_1 is over 5 usd, ours over 6 usd"]


def test_another_currency_and_less_paid_than_due_are_said() -> None:
    event = renewal(line(100, DECEMBER), amount_due=100, amount_paid=40)
    assert list(event.differences(100, 0, "eur", "paid")) == [
        "Stripe's in_1 is over 100 usd of usage, ours over 100 eur of usage",
        "Stripe's in_1 was paid 40 of 100 usd",
    ]
    assert len(list(event.differences(100, 0, "usd", "finalized"))) == 0


@pytest.mark.parametrize("data", [None, [], "x", {"object": None}, {"object": []}, {"object": {"id": 7, "lines": [1]}}])
def test_of_a_strange_shape_nothing_is_read(data: Any) -> None:
    event = InvoiceEvent({"data": data})
    assert (event.id, event.customer, event.our_id, event.total, event.usage_total) == (None, None, None, None, None)
    assert list(event.differences(5, 0, "usd", "paid")) == []
    assert not event.is_of_sign_up


def test_our_own_id_is_in_its_metadata() -> None:
    assert renewal(metadata={"tollkeeper_invoice_id": OURS}).our_id == UUID(OURS)
    assert renewal(metadata={"tollkeeper_invoice_id": "42"}).our_id is None

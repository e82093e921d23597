"""Late usage that missed Stripe's own invoice: an item on its next one, once, whatever goes wrong on the way."""

from __future__ import annotations

from datetime import timedelta

import pytest

from integration.closing.ledger import CENT, DECEMBER, JANUARY, NOVEMBER
from integration.collecting.conftest import CUSTOMER, Collecting
from tollkeeper.services.reporting import report_owed
from tollkeeper.testing import FaultKind

ITEMS = "/v1/invoiceitems"
LATE = DECEMBER + timedelta(days=3)


def close_with_late_usage(collecting: Collecting) -> None:
    """November is closed and told; seven more tokens of it, two of them output, are billed with December."""
    ledger = collecting.ledger
    collecting.standin.add_meter("ai_tokens")
    ledger.plan(CENT)
    ledger.customer(stripe=CUSTOMER)
    ledger.use(tokens_in=100)
    ledger.close(now=collecting.clock.now())
    report(collecting)
    ledger.use(tokens_in=5, tokens_out=2, stored=LATE)
    ledger.use(tokens_in=30, at=DECEMBER)
    collecting.clock.set(JANUARY + timedelta(minutes=5))
    ledger.close(as_of=JANUARY)


def report(collecting: Collecting) -> None:
    report_owed(collecting.ledger.database, collecting.stripe, now=collecting.clock.now())


def test_it_waits_at_stripe_for_the_next_invoice_and_is_on_it(collecting: Collecting) -> None:
    close_with_late_usage(collecting)
    assert collecting.collect().issued == 1
    [item] = collecting.standin.invoice_items()
    assert (item["amount"], item["invoice"], item["customer"]) == (7, None, CUSTOMER)
    assert item["description"] == "Late usage of 2026-11-01 to 2026-12-01: *, *: +7"
    ours = collecting.ledger.invoices()[1]
    assert item["metadata"]["tollkeeper_invoice_id"] == str(ours["id"])

    renewal = collecting.standin.invoice(
        customer=CUSTOMER, period_start=DECEMBER, period_end=JANUARY, amount=30, subscription="sub_1"
    )

    assert renewal["total"] == ours["total_amount"] == 37


def test_the_invoice_that_bills_it_is_final_with_its_reports_and_its_items(collecting: Collecting) -> None:
    close_with_late_usage(collecting)
    report(collecting)
    assert [invoice["status"] for invoice in collecting.ledger.invoices()] == ["finalized", "draft"]
    collecting.collect()
    report(collecting)
    assert [invoice["status"] for invoice in collecting.ledger.invoices()] == ["finalized", "finalized"]


@pytest.mark.parametrize("fault", [fault for fault in FaultKind if not fault.startswith("hang")])
def test_it_is_there_once_whatever_goes_wrong(collecting: Collecting, fault: FaultKind) -> None:
    close_with_late_usage(collecting)
    collecting.standin.inject(fault, method="POST", path=ITEMS)
    for _ in range(4):
        collecting.collect()
        collecting.wait(minutes=1)
    assert [item["amount"] for item in collecting.standin.invoice_items()] == [7]
    assert collecting.rows()[0]["state"] == "issued"


def test_after_a_month_of_silence_it_is_looked_for_even_on_an_invoice(collecting: Collecting) -> None:
    close_with_late_usage(collecting)
    collecting.standin.inject(FaultKind.DROP_AFTER, method="POST", path=ITEMS)
    collecting.collect()
    collecting.standin.invoice(
        customer=CUSTOMER, period_start=NOVEMBER, period_end=JANUARY, amount=30, subscription="sub_1"
    )
    collecting.wait(days=30)
    assert collecting.collect().issued == 1
    assert [item["amount"] for item in collecting.standin.invoice_items()] == [7]

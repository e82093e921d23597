"""Reports that Stripe's own invoice went out without: the money comes as an item, and no event is sent to nobody."""

from __future__ import annotations

from datetime import timedelta

from integration.closing.ledger import CENT, DECEMBER, NOVEMBER
from integration.reporting.conftest import CUSTOMER, Reporting
from tollkeeper.payments.stripe_invoices import StripeItems
from tollkeeper.services.collecting import collect_owed
from tollkeeper.testing import FaultKind

EVENTS, INVOICES = "/v1/billing/meter_events", "/v1/invoices"


def finalize(reporting: Reporting, amount: int, status: str = "open", customer: str = CUSTOMER) -> None:
    """Stripe's own invoice over November."""
    reporting.standin.invoice(
        customer=customer,
        period_start=NOVEMBER,
        period_end=DECEMBER,
        amount=amount,
        subscription="sub_1",
        status=status,
    )


def silence(reporting: Reporting, *usage: int) -> None:
    """Stripe has answered nothing since the close, and made its invoice meanwhile."""
    reporting.close(*usage)
    reporting.standin.inject(FaultKind.DROP_BEFORE, path=EVENTS, times=99)
    reporting.report()
    reporting.standin.clear_faults()
    reporting.clock.set(DECEMBER + timedelta(hours=2))


def items(reporting: Reporting) -> list[int]:
    collect_owed(reporting.ledger.database, {"stripe_items": StripeItems(reporting.stripe)}, now=reporting.clock.now())
    return [item["amount"] for item in reporting.standin.invoice_items()]


def test_what_was_never_told_becomes_an_item_once_stripes_invoice_is_final(reporting: Reporting) -> None:
    reporting.close(100, 20)
    reporting.clock.set(DECEMBER + timedelta(hours=2))
    finalize(reporting, 0)
    assert reporting.report().sent == 0
    assert reporting.states() == ["missed", "missed"]
    assert items(reporting) == [120]
    assert reporting.counted() == 0
    reporting.report()
    assert reporting.invoice_status() == ["finalized"]


def test_what_was_told_in_time_is_not_in_the_item(reporting: Reporting) -> None:
    reporting.close(100, 20)
    reporting.report(limit=1)
    reporting.clock.set(DECEMBER + timedelta(hours=2))
    finalize(reporting, 100)
    reporting.report()
    assert reporting.states() == ["acknowledged", "missed"]
    assert items(reporting) == [20]


def test_a_draft_still_takes_what_it_is_told(reporting: Reporting) -> None:
    reporting.close(100)
    reporting.clock.set(DECEMBER + timedelta(minutes=58))
    finalize(reporting, 0, status="draft")
    assert reporting.report().acknowledged == 1
    assert items(reporting) == []


def test_without_an_invoice_of_its_own_stripe_is_told_however_late(reporting: Reporting) -> None:
    reporting.close(100)
    reporting.clock.set(DECEMBER + timedelta(days=20))
    assert reporting.report().acknowledged == 1


def test_what_has_no_answer_is_read_back_before_it_becomes_an_item(reporting: Reporting) -> None:
    reporting.close(100)
    reporting.standin.inject(FaultKind.DROP_AFTER, path=EVENTS)
    reporting.report()
    reporting.clock.set(DECEMBER + timedelta(hours=2))
    finalize(reporting, 100)
    reporting.report()
    assert reporting.states() == ["acknowledged"]
    assert items(reporting) == []
    assert len(reporting.sent()) == 1


def test_what_has_no_answer_and_is_not_counted_becomes_an_item(reporting: Reporting) -> None:
    silence(reporting, 100, 20)
    finalize(reporting, 0)
    for _ in range(3):
        reporting.report()
        reporting.wait(minutes=20)
    assert reporting.states() == ["missed", "missed"]
    assert items(reporting) == [120]
    assert len(reporting.sent()) == 2, "the first attempts, which did not arrive"


def test_while_stripe_does_not_say_whether_its_invoice_is_final_reports_wait(reporting: Reporting) -> None:
    reporting.close(100)
    reporting.clock.set(DECEMBER + timedelta(hours=2))
    reporting.standin.inject(FaultKind.DROP_BEFORE, path=INVOICES)
    assert reporting.report().sent == 0
    assert reporting.states() == ["pending"]
    assert reporting.report().acknowledged == 1


def test_after_more_than_a_month_no_meter_takes_it_and_it_becomes_an_item(reporting: Reporting) -> None:
    reporting.close(100)
    reporting.clock.set(DECEMBER + timedelta(days=40))
    reporting.report()
    assert reporting.states() == ["missed"]
    assert items(reporting) == [100]


def test_what_is_missed_later_is_worked_out_with_what_was_missed_before(reporting: Reporting) -> None:
    """Tiers: what is worth nothing by itself is worth something on top of the rest, whichever of it is missed first."""
    tiers = 'tiers = [{ up_to = 100, price = "0" }, { up_to = "inf", price = "1" }]'
    reporting.ledger.plan(CENT.replace('price = "0.01"', tiers))
    reporting.ledger.customer(stripe=CUSTOMER)
    reporting.ledger.use(tokens_in=100, tokens_out=20)
    reporting.ledger.close(now=reporting.clock.now())
    reporting.report()  # Stripe takes both and counts neither in the end
    reporting.clock.set(DECEMBER + timedelta(hours=5))
    finalize(reporting, 0)
    for event in reporting.standin.meter_events():
        reporting.standin.reject_event(event["identifier"])
    for token_type in ("input", "output"):
        reporting.ledger.run("UPDATE stripe_reports SET state = 'rejected' WHERE token_type = :kind", kind=token_type)
        for _ in range(3):
            reporting.report(insist=True)
            reporting.wait(hours=2)
    assert reporting.states() == ["missed", "missed"]
    assert sum(items(reporting)) == 2_000, "120 tokens less 100 at no charge, a dollar each"

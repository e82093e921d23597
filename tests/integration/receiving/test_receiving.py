"""Webhooks of Stripe: proven, stored once, applied in any order, and never believed about money."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from integration.closing.ledger import CENT, DECEMBER, JANUARY, Ledger
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.payments.signature import SignatureRefused
from tollkeeper.services.receiving import Received, WrongMode, apply_pending_webhooks, receive_stripe
from tollkeeper.testing import FrozenClock, StripeStandIn, sign_stripe

SECRET = "whsec_of_the_tests"
NOW = DECEMBER + timedelta(hours=2)
MOVES = {
    "finalized": "invoice.finalized",
    "paid": "invoice.paid",
    "void": "invoice.voided",
    "uncollectible": "invoice.marked_uncollectible",
}


@pytest.fixture
def standin() -> StripeStandIn:
    standin = StripeStandIn(FrozenClock(NOW))
    standin.add_customer("cus_ada")
    return standin


@pytest.fixture
def billed(ledger: Ledger) -> Ledger:
    """A customer with a draft over 100 cents."""
    ledger.plan(CENT)
    ledger.customer(stripe="cus_ada")
    ledger.use(tokens_in=100)
    ledger.close()
    return ledger


def stripes_invoice(standin: StripeStandIn, status: str = "paid", **more: Any) -> dict[str, Any]:
    period = {"period_start": DECEMBER - timedelta(days=30), "period_end": DECEMBER}
    return standin.invoice(**{"customer": "cus_ada", **period, "amount": 100, "status": status, **more})


def receive(ledger: Ledger, event: dict[str, Any], **more: Any) -> Received:
    body = json.dumps(event).encode()
    return receive_stripe(ledger.database, body, sign_stripe(body, SECRET, NOW), SECRET, now=NOW, **more)


def invoice(ledger: Ledger) -> dict[str, Any]:
    [found] = ledger.invoices()
    return found


@pytest.mark.parametrize("status", MOVES)
def test_an_event_moves_the_invoice_to_what_it_says(billed: Ledger, standin: StripeStandIn, status: str) -> None:
    about = stripes_invoice(standin, {"finalized": "open"}.get(status, status))
    received = receive(billed, standin.event(MOVES[status], about))
    assert (received.duplicate, received.state) == (False, "applied")
    assert (invoice(billed)["status"], invoice(billed)["stripe_invoice_id"]) == (status, about["id"])
    assert invoice(billed)["finalized_at"] is not None
    assert (invoice(billed)["paid_at"] is not None) == (status == "paid")
    assert invoice(billed)["alarm"] is None


@pytest.mark.parametrize("order", list(itertools.permutations(["finalized", "uncollectible", "paid"])))
def test_in_whatever_order_events_come_the_invoice_ends_where_stripe_left_it(
    billed: Ledger, standin: StripeStandIn, order: tuple[str, ...]
) -> None:
    about = stripes_invoice(standin)
    for status in order:
        receive(billed, standin.event(MOVES[status], about))
    assert invoice(billed)["status"] == "paid"


def test_a_voided_invoice_stays_void(billed: Ledger, standin: StripeStandIn) -> None:
    about = stripes_invoice(standin, "void")
    for status in ("void", "uncollectible", "finalized"):
        receive(billed, standin.event(MOVES[status], about))
    assert invoice(billed)["status"] == "void"


def test_an_event_that_comes_twice_is_one_event(billed: Ledger, standin: StripeStandIn) -> None:
    event = standin.event("invoice.paid", stripes_invoice(standin))
    assert not receive(billed, event).duplicate
    before = invoice(billed)
    assert receive(billed, event).duplicate
    assert invoice(billed) == before
    assert len(billed.rows("SELECT * FROM webhook_events")) == 1


def test_the_same_event_ten_times_at_once_is_applied_once(billed: Ledger, standin: StripeStandIn) -> None:
    event = standin.event("invoice.paid", stripes_invoice(standin))
    with ThreadPoolExecutor(10) as pool:
        received = [run.result() for run in [pool.submit(receive, billed, event) for _ in range(10)]]
    assert sum(not one.duplicate for one in received) == 1
    assert sum(one.state == "applied" for one in received) == 1
    assert billed.rows("SELECT state, attempts FROM webhook_events") == [{"state": "applied", "attempts": 1}]
    assert invoice(billed)["status"] == "paid"


def test_all_events_of_an_invoice_at_once_end_where_stripe_left_it(billed: Ledger, standin: StripeStandIn) -> None:
    about = stripes_invoice(standin)
    events = [standin.event(MOVES[status], about) for status in ("finalized", "uncollectible", "paid") * 4]
    with ThreadPoolExecutor(8) as pool:
        for run in [pool.submit(receive, billed, event) for event in events]:
            run.result()
    apply_pending_webhooks(billed.database, now=NOW)
    assert invoice(billed)["status"] == "paid"
    assert billed.rows("SELECT DISTINCT state FROM webhook_events") == [{"state": "applied"}]


class TestWhichInvoiceItIs:
    def test_our_own_id_in_the_metadata_says_it(self, billed: Ledger, standin: StripeStandIn) -> None:
        standin.add_customer("cus_else")
        about = stripes_invoice(
            standin,
            customer="cus_else",
            period_end=JANUARY,
            metadata={"tollkeeper_invoice_id": str(invoice(billed)["id"])},
        )
        assert receive(billed, standin.event("invoice.paid", about)).state == "applied"
        assert invoice(billed)["status"] == "paid"

    def test_another_period_of_the_same_customer_does_not(self, billed: Ledger, standin: StripeStandIn) -> None:
        about = stripes_invoice(standin, period_end=DECEMBER + timedelta(seconds=1))
        assert receive(billed, standin.event("invoice.paid", about)).state == "pending"
        assert invoice(billed)["status"] == "draft"

    def test_once_it_is_known_only_that_one_of_stripes_moves_it(self, billed: Ledger, standin: StripeStandIn) -> None:
        metadata = {"tollkeeper_invoice_id": str(invoice(billed)["id"])}
        receive(billed, standin.event("invoice.finalized", stripes_invoice(standin, "open", metadata=metadata)))
        other = stripes_invoice(standin, metadata=metadata)
        assert receive(billed, standin.event("invoice.paid", other)).state == "ignored"
        assert invoice(billed)["status"] == "finalized"
        assert invoice(billed)["alarm"] == f"Stripe's {other['id']} says that it is this invoice too"

    def test_an_event_about_nobody_of_ours_is_ignored(self, billed: Ledger, standin: StripeStandIn) -> None:
        standin.add_customer("cus_else")
        about = stripes_invoice(standin, customer="cus_else")
        assert receive(billed, standin.event("invoice.paid", about)).state == "ignored"

    def test_one_that_comes_before_our_own_close_waits_for_it(self, ledger: Ledger, standin: StripeStandIn) -> None:
        ledger.plan(CENT)
        ledger.customer(stripe="cus_ada")
        ledger.use(tokens_in=100)
        assert receive(ledger, standin.event("invoice.paid", stripes_invoice(standin))).state == "pending"
        ledger.close(now=NOW)
        assert apply_pending_webhooks(ledger.database, now=NOW + timedelta(seconds=29)) == 0
        assert apply_pending_webhooks(ledger.database, now=NOW + timedelta(seconds=30)) == 1
        assert invoice(ledger)["status"] == "paid"

    def test_one_whose_invoice_never_comes_is_given_up_after_three_days(
        self, ledger: Ledger, standin: StripeStandIn
    ) -> None:
        ledger.plan(CENT)
        ledger.customer(stripe="cus_ada")
        receive(ledger, standin.event("invoice.paid", stripes_invoice(standin)))
        assert apply_pending_webhooks(ledger.database, now=NOW + timedelta(days=2)) == 0
        assert apply_pending_webhooks(ledger.database, now=NOW + timedelta(days=3)) == 1
        assert ledger.rows("SELECT state FROM webhook_events") == [{"state": "ignored"}]


class TestMoney:
    @pytest.mark.parametrize(
        ("changes", "alarm"),
        [
            ({"total": 99, "total_excluding_tax": None}, "Stripe's {id} is over 99 usd, ours over 100 usd"),
            ({"total": 119, "total_excluding_tax": 100, "amount_due": 119, "amount_paid": 119}, None),
            ({"total_excluding_tax": 101}, "Stripe's {id} is over 101 usd, ours over 100 usd"),
            ({"currency": "eur"}, "Stripe's {id} is over 100 eur, ours over 100 usd"),
            ({"amount_due": 100, "amount_paid": 40}, "Stripe's {id} was paid 40 of 100 usd"),
        ],
    )
    def test_another_amount_than_ours_is_an_alarm_and_changes_nothing_of_ours(
        self, billed: Ledger, standin: StripeStandIn, changes: dict[str, Any], alarm: str | None
    ) -> None:
        about = {**stripes_invoice(standin), **changes}
        receive(billed, standin.event("invoice.paid", about))
        found = invoice(billed)
        assert found["alarm"] == (alarm and alarm.format(id=about["id"]))
        assert (found["status"], found["total_amount"]) == ("paid", 100)

    def test_the_same_alarm_is_noted_once(self, billed: Ledger, standin: StripeStandIn) -> None:
        about = stripes_invoice(standin, amount=7)
        for event_type in ("invoice.finalized", "invoice.paid"):
            receive(billed, standin.event(event_type, about))
        assert invoice(billed)["alarm"] == f"Stripe's {about['id']} is over 7 usd, ours over 100 usd"


class TestWhatIsRefused:
    def test_a_forged_body_is_not_stored(self, billed: Ledger, standin: StripeStandIn) -> None:
        body = json.dumps(standin.event("invoice.paid", stripes_invoice(standin))).encode()
        with pytest.raises(SignatureRefused):
            receive_stripe(billed.database, body, sign_stripe(body, "whsec_other", NOW), SECRET, now=NOW)
        assert billed.rows("SELECT FROM webhook_events") == []

    @pytest.mark.parametrize("live", [True, False])
    def test_an_event_of_the_other_mode_than_the_api_key_is_not_taken(
        self, billed: Ledger, standin: StripeStandIn, live: bool
    ) -> None:
        event = standin.event("invoice.paid", stripes_invoice(standin), livemode=live)
        with pytest.raises(WrongMode):
            receive(billed, event, livemode=not live)
        assert billed.rows("SELECT FROM webhook_events") == []
        assert receive(billed, event, livemode=live).state == "applied"

    @pytest.mark.parametrize(
        "event",
        [
            {},
            {"id": 7, "type": "invoice.paid"},
            {"id": "evt_1"},
            {"id": "evt_1", "type": "x" * 300},
            {"id": "evt_\x00", "type": "invoice.paid"},
            {"id": "evt_1", "type": "invoice.paid", "data": {"object": {"id": "in_\x00"}}},
            {"id": "evt_1", "type": "invoice.paid", "data": "\ud800"},
        ],
    )
    def test_what_is_signed_and_still_no_event_is_bad_input(self, billed: Ledger, event: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput):
            receive(billed, event)
        assert billed.rows("SELECT FROM webhook_events") == []

    @pytest.mark.parametrize(
        "data",
        [
            None,
            [],
            {"object": "in_1"},
            {"object": {"id": {}, "customer": [], "metadata": "x", "period_end": "soon"}},
            {"object": {"id": "in_1", "customer": "cus_ada", "period_end": 10**30, "metadata": None}},
            {"object": {"metadata": {"tollkeeper_invoice_id": "not-a-uuid"}}},
        ],
    )
    def test_an_event_of_a_strange_shape_moves_nothing(self, billed: Ledger, data: Any) -> None:
        receive(billed, {"id": "evt_1", "type": "invoice.paid", "data": data})
        assert invoice(billed)["status"] == "draft"

    def test_a_type_that_means_nothing_to_us_is_stored_and_ignored(
        self, billed: Ledger, standin: StripeStandIn
    ) -> None:
        assert receive(billed, standin.event("invoice.overdue", stripes_invoice(standin))).state == "ignored"
        assert billed.rows("SELECT type, state FROM webhook_events") == [
            {"type": "invoice.overdue", "state": "ignored"}
        ]


def test_an_event_that_cannot_be_applied_is_kept_and_tried_again(billed: Ledger, standin: StripeStandIn) -> None:
    billed.run("ALTER TABLE invoices ADD CONSTRAINT never CHECK (status <> 'paid') NOT VALID")
    try:
        assert receive(billed, standin.event("invoice.paid", stripes_invoice(standin))).state == "pending"
    finally:
        billed.run("ALTER TABLE invoices DROP CONSTRAINT never")
    assert apply_pending_webhooks(billed.database, now=NOW + timedelta(seconds=30)) == 1
    assert invoice(billed)["status"] == "paid"


def test_while_the_database_is_being_changed_an_event_is_stored_and_waits(
    billed: Ledger, standin: StripeStandIn
) -> None:
    billed.run("ALTER TABLE invoices RENAME TO elsewhere")
    try:
        assert receive(billed, standin.event("invoice.paid", stripes_invoice(standin))).state == "pending"
    finally:
        billed.run("ALTER TABLE elsewhere RENAME TO invoices")
    assert billed.rows("SELECT state, attempts FROM webhook_events") == [{"state": "pending", "attempts": 0}]
    assert apply_pending_webhooks(billed.database, now=NOW) == 1
    assert invoice(billed)["status"] == "paid"

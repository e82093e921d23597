"""The collector by itself: what it finds, makes and issues for one demand, however often it is asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from tollkeeper.domain.demand import Demand, DemandLine
from tollkeeper.domain.period import Period
from tollkeeper.domain.split import Share
from tollkeeper.payments import Refused
from tollkeeper.payments.collector import Standing
from tollkeeper.payments.paystack import PaystackPayments
from tollkeeper.payments.paystack_invoices import Card, PaystackInvoices
from tollkeeper.testing import PaystackStandIn

from .conftest import ADA

NOVEMBER = Period(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
INVOICE = UUID("6f1f3c0e-58a5-4d0c-9c3e-0d5b7f4d2a11")
DEMAND = Demand(
    invoice_id=INVOICE,
    user_id="ada",
    customer=ADA,
    email=ADA,
    currency="ngn",
    period=NOVEMBER,
    drafted_at=datetime(2026, 11, 1, tzinfo=UTC),
    lines=(DemandLine("1", 7_000, "Usage", NOVEMBER), DemandLine("2", 0, "Free", NOVEMBER)),
)


@pytest.fixture
def requests(payments: PaystackPayments) -> PaystackInvoices:
    """A collector for a customer without a card."""
    return PaystackInvoices(payments, lambda _: None)


@pytest.fixture
def charges(payments: PaystackPayments, standin: PaystackStandIn) -> PaystackInvoices:
    """A collector for a customer whose card the bank is slow with."""
    card = Card(standin.add_card(ADA, outcomes=["processing"]), ADA)
    return PaystackInvoices(payments, lambda _: card)


def issued(collector: PaystackInvoices, demand: Demand = DEMAND) -> Standing:
    draft = collector.open(demand, "key")
    assert isinstance(draft, Standing)
    filled = collector.fill(demand, draft, "key", lambda: None)
    assert filled == draft
    standing = collector.issue(demand, draft, "key")
    assert isinstance(standing, Standing)
    return standing


def test_lines_over_nothing_are_left_out(requests: PaystackInvoices, standin: PaystackStandIn) -> None:
    issued(requests)

    (request,) = standin.payment_requests()
    assert [(line["name"], line["amount"]) for line in request["line_items"]] == [("Usage", 7_000)]


def test_with_a_credit_among_the_lines_the_sum_alone_is_asked_for(
    requests: PaystackInvoices, standin: PaystackStandIn
) -> None:
    issued(requests, replace(DEMAND, lines=(*DEMAND.lines, DemandLine("3", -2_000, "Credit", NOVEMBER))))

    (request,) = standin.payment_requests()
    assert (request["amount"], request["line_items"]) == (5_000, [])


def test_to_issue_what_is_issued_already_is_no_refusal(requests: PaystackInvoices, standin: PaystackStandIn) -> None:
    draft = requests.open(DEMAND, "key")
    assert isinstance(draft, Standing)

    first, second = requests.issue(DEMAND, draft, "key"), requests.issue(DEMAND, draft, "key")

    assert first == second
    assert isinstance(first, Standing)
    assert first.status == "open"
    assert len(standin.payment_requests()) == 1


def test_to_charge_twice_charges_once(charges: PaystackInvoices, standin: PaystackStandIn) -> None:
    assert issued(charges) == issued(charges)
    assert len(standin.transactions()) == 1
    assert standin.payment_requests() == []


def test_a_charge_of_another_amount_is_not_ours_paid(charges: PaystackInvoices, standin: PaystackStandIn) -> None:
    reference = issued(charges).external_id
    standin._integration.transactions[reference]["amount"] = 1
    standin.settle(reference)

    (found,) = _found(charges)

    assert (found.status, found.total) == ("open", 1)


def test_a_charge_that_was_given_back_is_void(charges: PaystackInvoices, standin: PaystackStandIn) -> None:
    reference = issued(charges).external_id
    standin._integration.transactions[reference]["status"] = "reversed"

    assert [one.status for one in _found(charges)] == ["void"]


def test_while_a_charge_is_under_way_no_request_is_made_beside_it(
    charges: PaystackInvoices, standin: PaystackStandIn
) -> None:
    issued(charges)

    assert [one.status for one in _found(charges)] == ["open"]
    assert issued(charges).status == "open"
    assert standin.payment_requests() == []


def test_an_archived_request_is_void_and_one_that_was_never_there_is_missing(
    requests: PaystackInvoices, payments: PaystackPayments
) -> None:
    code = issued(requests).external_id
    payments.archive_request(code)

    assert [one.status for one in _found(requests, code)] == ["void"]
    assert _found(requests) == ()
    assert _found(requests, "PRQ_never_there") == ()


def test_a_draft_is_thrown_away_once_and_for_all(requests: PaystackInvoices, charges: PaystackInvoices) -> None:
    draft, uncharged = requests.open(DEMAND, "key"), charges.open(DEMAND, "key")
    assert isinstance(draft, Standing)
    assert isinstance(uncharged, Standing)

    assert [requests.discard(draft, "key"), requests.discard(draft, "key"), charges.discard(uncharged, "key")] == [
        None
    ] * 3
    assert _found(requests) == ()


@pytest.mark.parametrize(
    "changes",
    [{"currency": "eur"}, {"email": None}, {"shares": (Share("acct_1", 1),)}],
    ids=["currency", "mail", "split"],
)
def test_what_paystack_cannot_do_is_refused_before_it_is_asked(
    requests: PaystackInvoices, standin: PaystackStandIn, changes: dict[str, object]
) -> None:
    assert isinstance(requests.open(replace(DEMAND, **changes), "key"), Refused)  # type: ignore[arg-type]
    assert standin.calls() == []


def _found(collector: PaystackInvoices, external_id: str | None = None) -> tuple[Standing, ...]:
    found = collector.find(DEMAND, external_id)
    assert isinstance(found, tuple)
    return found

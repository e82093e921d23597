"""Invoices collected by Paystack: each asked for once, and paid only where Paystack's API says so."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.reference import charge_reference
from tollkeeper.services.authorizing import choose_card, forget_card, stored_cards
from tollkeeper.services.collecting import CollectingSummary
from tollkeeper.services.dunning import enforce_access
from tollkeeper.services.watching import watch

from .conftest import ADA, NAIRA, Collecting

# 5,000.00 naira a month and 100 tokens at 50 kobo: 500,000 + 5,000 kobo.
OWED = 505_000


def test_an_invoice_becomes_one_payment_request_with_our_lines(collecting: Collecting) -> None:
    collecting.close(100)

    done = collecting.collect()

    assert done == CollectingSummary(tried=1, issued=1)
    (request,) = collecting.standin.payment_requests()
    invoice = collecting.invoice()
    assert (request["amount"], request["currency"], request["status"]) == (OWED, "NGN", "pending")
    assert [line["amount"] for line in request["line_items"]] == [5_000, 500_000]
    assert request["description"] == f"Usage 2026-11-01 to 2026-11-30, invoice {invoice['id']}"
    assert (invoice["status"], invoice["alarm"]) == ("finalized", None)
    assert collecting.row()["external_id"] == request["request_code"]


def test_it_is_paid_once_a_webhook_rang_and_the_api_says_so(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.collect()
    assert collecting.follow() == 0  # nobody rang, and its time has not come

    collecting.standin.pay(collecting.row()["external_id"])
    assert collecting.hear() == ["ignored", "ignored", "applied"]  # only the last names our request

    assert collecting.follow() == 1
    assert (collecting.invoice()["status"], collecting.invoice()["alarm"]) == ("paid", None)
    assert collecting.standin.collected() == OWED
    assert collecting.row()["next_attempt_at"] is None


def test_an_event_alone_pays_nothing(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.collect()
    code = collecting.row()["external_id"]

    lie = {
        "event": "paymentrequest.success",
        "data": {"id": 1, "request_code": code, "paid": True, "status": "success"},
    }
    assert collecting.receive(lie).state == "applied"

    assert collecting.follow() == 0
    assert collecting.invoice()["status"] == "finalized"


def test_a_lost_webhook_is_made_up_for_within_half_a_day(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.collect()
    collecting.standin.pay(collecting.row()["external_id"])

    collecting.wait(hours=12)

    assert collecting.follow() == 1
    assert collecting.invoice()["status"] == "paid"


def test_another_amount_than_ours_is_an_alarm_and_no_payment(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.collect()
    code = collecting.row()["external_id"]
    collecting.standin.pay(code, amount=5)
    collecting.hear()

    assert collecting.follow() == 0

    assert collecting.invoice()["status"] == "finalized"
    assert collecting.invoice()["total_amount"] == OWED
    assert collecting.invoice()["alarm"] == f"{code} is over 5 ngn, ours over 505000 ngn"


def test_an_event_that_is_quicker_than_our_own_commit_waits_for_it(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.standin.inject("drop_after", path="/paymentrequest/finalize/*")
    collecting.collect()
    (request,) = collecting.payable()
    collecting.standin.pay(request["request_code"])

    assert collecting.hear() == ["ignored", "ignored", "pending"]
    collecting.wait(minutes=5)
    collecting.collect()

    assert collecting.invoice()["status"] == "paid"  # found again by looking
    assert collecting.apply_pending() == 1
    assert len(collecting.standin.payment_requests()) == 1


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "error_before", "error_after", "rate_limit"])
@pytest.mark.parametrize(
    "path",
    ["/customer", "/customer/*", "/paymentrequest", "/paymentrequest/verify/*", "/paymentrequest/finalize/*"],
)
def test_whichever_call_fails_and_how_one_request_goes_out(collecting: Collecting, kind: str, path: str) -> None:
    collecting.close(100)
    collecting.standin.inject(kind, path=path)

    for _ in range(4):
        collecting.collect()
        collecting.wait(minutes=31)

    (request,) = collecting.payable()
    assert request["amount"] == OWED
    assert collecting.invoice()["status"] == "finalized"
    assert all(one["status"] == "pending" for one in collecting.standin.payment_requests() if not one.get("archived"))


def test_a_day_of_silence_changes_nothing_of_it(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.standin.inject("drop_after", method="POST", path="/paymentrequest")
    collecting.collect()
    collecting.standin.inject("drop_before", times=100)
    for _ in range(5):
        collecting.wait(hours=9)
        collecting.collect()
    collecting.standin.clear_faults()

    for _ in range(3):
        collecting.wait(hours=2)
        collecting.collect()

    assert len(collecting.payable()) == 1
    assert len(collecting.standin.payment_requests()) == 1


def test_what_paystack_refuses_is_parked_and_tried_again_when_a_person_asks(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.ledger.run("UPDATE customers SET email = 'no address' WHERE user_id = 'ada'")

    assert collecting.collect() == CollectingSummary(tried=1, parked=1)
    assert "waits for a person" in collecting.invoice()["alarm"]
    collecting.ledger.run("UPDATE customers SET email = 'ada@example.com' WHERE user_id = 'ada'")

    assert collecting.collect(insist=True).issued == 1
    assert collecting.invoice()["alarm"] is None


def test_a_wrong_key_stops_the_run_and_loses_nothing(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.standin._door._secret_key = "sk_test_another"

    assert collecting.collect().pending == 1
    assert collecting.row()["last_error"].startswith("API key")


def test_a_currency_that_paystack_does_not_take_is_refused_without_asking(collecting: Collecting) -> None:
    euros = NAIRA.replace('"ngn"', '"eur"').replace('collector = "paystack"', 'collect = "invoices"')
    collecting.close(100, plan=euros)

    assert collecting.collect().parked == 1
    assert "Paystack charges in" in collecting.row()["last_error"]
    assert collecting.standin.calls() == []


def test_francs_without_a_minor_unit_are_sent_times_100(collecting: Collecting) -> None:
    francs = NAIRA.replace('"ngn"', '"xof"').replace('"5000.00"', '"5000"').replace('"0.50"', '"5"')
    collecting.close(100, plan=francs)  # 5,000 and 100 × 5 francs
    collecting.collect()

    (request,) = collecting.payable()
    assert (collecting.invoice()["total_amount"], request["amount"]) == (5_500, 550_000)
    collecting.standin.pay(request["request_code"])
    collecting.hear()
    collecting.follow()
    assert collecting.invoice()["status"] == "paid"


def test_a_plan_can_say_when_it_is_due(collecting: Collecting) -> None:
    collecting.close(100, plan=NAIRA.replace("base_fee", "days_until_due = 14\nbase_fee"))
    collecting.collect()

    assert collecting.payable()[0]["due_date"] == "2026-12-15"


# Cards


def test_a_chosen_card_is_charged_and_nothing_else_is_asked(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.card()

    collecting.collect()

    (charge,) = collecting.standin.transactions()
    assert (charge["amount"], charge["status"]) == (OWED, "success")
    assert charge["reference"] == charge_reference(collecting.invoice()["id"], 1)
    assert collecting.standin.payment_requests() == []
    assert collecting.invoice()["status"] == "paid"


def test_a_declined_card_is_not_charged_again_the_customer_is_asked_instead(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.card("failed")

    collecting.collect()

    (request,) = collecting.payable()
    assert len(collecting.standin.transactions()) == 1
    assert (collecting.row()["external_id"], collecting.invoice()["status"]) == (request["request_code"], "finalized")
    collecting.standin.pay(request["request_code"])
    collecting.hear()
    assert collecting.follow() == 1
    assert collecting.standin.collected() == OWED


@pytest.mark.parametrize(("end", "status", "requests"), [("success", "paid", 0), ("failed", "finalized", 1)])
def test_a_charge_under_way_ends_one_way_or_the_other(
    collecting: Collecting, end: str, status: str, requests: int
) -> None:
    collecting.close(100)
    collecting.card("processing")
    collecting.collect()
    assert (collecting.invoice()["status"], collecting.payable()) == ("finalized", [])

    collecting.standin.settle(collecting.row()["external_id"], end)
    collecting.hear()
    collecting.wait(hours=13)  # a failure has no event
    collecting.follow()
    collecting.collect()

    assert collecting.invoice()["status"] == status
    assert len(collecting.payable()) == requests
    assert collecting.row()["state"] == "issued"


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "error_before", "error_after", "rate_limit"])
@pytest.mark.parametrize("path", ["/transaction/charge_authorization", "/transaction/verify/*"])
@pytest.mark.parametrize("outcome", ["success", "failed"])
def test_whichever_call_fails_the_card_is_charged_once(
    collecting: Collecting, kind: str, path: str, outcome: str
) -> None:
    collecting.close(100)
    collecting.card(outcome)
    collecting.standin.inject(kind, path=path)

    for _ in range(4):
        collecting.collect()
        collecting.wait(minutes=31)
    for request in collecting.payable():
        collecting.standin.pay(request["request_code"])
    collecting.hear()
    collecting.follow()

    assert collecting.standin.collected() == OWED
    assert collecting.invoice()["status"] == "paid"


def test_a_card_that_was_taken_away_meanwhile_is_not_charged(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.card()
    collecting.standin.inject("drop_before", path="/transaction/charge_authorization")
    collecting.collect()
    assert forget_card(collecting.ledger.database, "ada", collecting.clock.now())

    collecting.wait(minutes=31)
    collecting.collect()

    assert len(collecting.payable()) == 1
    assert collecting.standin.transactions() == []


def test_a_card_is_chosen_by_its_last_digits_and_its_code_is_in_no_trail(collecting: Collecting) -> None:
    collecting.close(100)
    code = collecting.card()

    cards, chosen = stored_cards(collecting.ledger.database, collecting.payments, "ada")
    assert chosen is not None
    assert ([card.code for card in cards], chosen.authorization_code, chosen.email) == ([code], code, ADA)
    assert code not in repr(chosen)
    trail = collecting.ledger.rows("SELECT * FROM audit_trail WHERE kind = 'customer.card_chosen'")
    assert len(trail) == 1
    assert code not in str(trail)
    with pytest.raises(InvalidInput, match="4081"):
        choose_card(collecting.ledger.database, collecting.payments, "ada", "9999", collecting.clock.now())


def test_an_invoice_that_nobody_takes_to_paystack_is_an_alarm_after_an_hour(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.collectors = {}  # no key is set
    assert collecting.collect().pending == 1
    assert watch(collecting.ledger.database, collecting.clock.now(), grace_seconds=300) == []

    collecting.wait(minutes=61)

    assert watch(collecting.ledger.database, collecting.clock.now(), grace_seconds=300) == [
        "1 invoices are not with their collector, the oldest since 2026-12-01 00:05 UTC"
    ]


# Payments that fail


def notices(collecting: Collecting) -> list[str]:
    rows = collecting.ledger.rows("SELECT kind FROM notices WHERE kind = 'payment.failed' ORDER BY created_at")
    return [row["kind"] for row in rows]


def access(collecting: Collecting, *, grace: int = 7) -> str | None:
    """What the sweep leaves Ada."""
    enforce_access(collecting.ledger.database, now=collecting.clock.now(), grace=timedelta(days=grace))
    [row] = collecting.ledger.rows("SELECT access FROM customers WHERE user_id = 'ada'")
    return None if row["access"] is None else str(row["access"])


STRICT = NAIRA.replace("base_fee", 'on_unpaid = "suspend"\nbase_fee')


@pytest.mark.parametrize("kind", ["none", "drop_after", "error_after"])
def test_a_declined_card_is_told_once_and_suspends_after_the_grace_until_it_is_paid(
    collecting: Collecting, kind: str
) -> None:
    collecting.close(100, plan=STRICT)
    collecting.card("failed")
    if kind != "none":
        collecting.standin.inject(kind, method="POST", path="/paymentrequest")
    for _ in range(3):
        collecting.collect()
        collecting.wait(minutes=31)

    assert notices(collecting) == ["payment.failed"]
    assert access(collecting) is None
    collecting.wait(days=8)
    assert access(collecting) == "suspended"

    (request,) = collecting.payable()
    collecting.standin.pay(request["request_code"])
    collecting.follow(insist=True)
    assert collecting.invoice()["status"] == "paid"
    assert access(collecting) is None
    assert len(notices(collecting)) == 1


def test_a_request_that_nobody_pays_in_time_is_a_failed_payment(collecting: Collecting) -> None:
    collecting.close(100, plan=STRICT.replace("base_fee", "days_until_due = 14\nbase_fee"))
    collecting.collect()
    collecting.wait(days=13)
    collecting.follow(insist=True)
    assert notices(collecting) == []

    collecting.wait(days=2)
    for _ in range(2):
        collecting.follow(insist=True)

    assert notices(collecting) == ["payment.failed"]
    assert access(collecting) is None
    collecting.wait(days=8)
    assert access(collecting) == "suspended"


def test_who_pays_at_once_never_failed(collecting: Collecting) -> None:
    collecting.close(100, plan=STRICT)
    collecting.card()
    collecting.collect()

    assert notices(collecting) == []
    assert collecting.ledger.rows("SELECT * FROM payment_failures") == []


# Webhooks


def test_an_event_that_comes_twice_is_one_event(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.collect()
    collecting.standin.pay(collecting.row()["external_id"])
    (*_, event) = collecting.standin.events()

    first, second = collecting.receive(event), collecting.receive(event)

    assert (first.duplicate, second.duplicate) == (False, True)
    assert first.event_id == f"paymentrequest.success:{event['data']['id']}"


def test_authorisation_codes_are_not_kept(collecting: Collecting) -> None:
    collecting.close(100)
    code = collecting.card()
    collecting.collect()

    collecting.hear()

    (stored,) = collecting.ledger.rows("SELECT payload FROM webhook_events")
    assert code not in json.dumps(stored["payload"], default=str)
    assert stored["payload"]["data"]["authorization"]["last4"] == "4081"


def test_a_dispute_is_noted_on_the_invoice(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.card()
    collecting.collect()
    (charge,) = collecting.standin.transactions()

    dispute = {"event": "charge.dispute.create", "data": {"id": 9, "transaction": {"reference": charge["reference"]}}}
    assert collecting.receive(dispute).state == "applied"

    assert "dispute" in collecting.invoice()["alarm"]
    assert collecting.invoice()["status"] == "paid"


@pytest.mark.parametrize(
    "event",
    [
        {"event": "charge.success", "data": {"id": 7, "reference": "an-order-of-the-shop"}},
        {"event": "charge.success", "data": {"reference": "tollkeeper-00000000-0000-0000-0000-000000000000-1"}},
        {"event": "paymentrequest.success", "data": {"id": 7, "request_code": "PRQ_of_somebody"}},
        {"event": "subscription.create", "data": {"id": 7}},
        {"event": "transfer.success", "data": {}},
        {"event": "something.new"},
        {"event": "something.new", "data": []},
        {"event": "charge.success", "data": {"id": True, "reference": 5, "description": {}}},
        {"event": "charge.success", "data": {"reference": "x" * 300}},
    ],
)
def test_what_is_not_about_our_invoices_is_kept_and_ignored(collecting: Collecting, event: dict[str, Any]) -> None:
    assert collecting.receive(event).state == "ignored"
    assert collecting.receive(event).duplicate


@pytest.mark.parametrize("event", [{}, {"event": 5}, {"event": ""}, {"event": "A B"}, {"event": "x" * 101}])
def test_what_names_no_event_is_refused(collecting: Collecting, event: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        collecting.receive(event)


def test_an_event_about_an_invoice_that_is_never_issued_is_given_up_in_the_end(collecting: Collecting) -> None:
    collecting.close(100)
    collecting.standin.inject("drop_after", path="/paymentrequest/finalize/*")
    collecting.collect()
    collecting.standin.pay(collecting.payable()[0]["request_code"])
    collecting.hear()

    collecting.clock.advance(timedelta(days=4))

    assert collecting.apply_pending() == 1

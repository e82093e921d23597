"""The adapter against the stand-in: what it asks, and what it makes of every kind of answer."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from integration.switch import Switch
from tollkeeper.payments import AccountAnswers, Failed, OutcomeUnknown, RateLimited, Refused
from tollkeeper.payments.paystack import PaystackPayments
from tollkeeper.payments.paystack_objects import PaymentRequest, PaystackCustomer, RequestLine, Transaction
from tollkeeper.testing import FrozenClock, PaystackStandIn

OCTOBER = datetime(2026, 10, 31, tzinfo=UTC)
INVOICE = UUID("6f1f3c0e-58a5-4d0c-9c3e-0d5b7f4d2a11")
OTHER = UUID("00000000-58a5-4d0c-9c3e-0d5b7f4d2a11")
ADA = "ada@example.com"


def customer(payments: PaystackPayments, email: str = ADA) -> PaystackCustomer:
    found = payments.customer_for(email)
    assert isinstance(found, PaystackCustomer)
    return found


def draft(payments: PaystackPayments, invoice: UUID = INVOICE, amount: int = 1_250_00) -> PaymentRequest:
    made = payments.draft_request(
        customer_code=customer(payments).code, amount=amount, currency="ngn", description=f"Usage, invoice {invoice}"
    )
    assert isinstance(made, PaymentRequest)
    return made


def charge(payments: PaystackPayments, card: str, reference: str = "a-1", amount: int = 5_000_00) -> object:
    return payments.charge(authorization=card, email=ADA, amount=amount, currency="ngn", reference=reference)


def test_a_customer_is_made_once_and_found_again(payments: PaystackPayments, standin: PaystackStandIn) -> None:
    first, second = customer(payments, "Ada@Example.com"), customer(payments)

    assert first == second
    assert (first.email, first.code[:4]) == (ADA, "CUS_")
    assert [call["method"] for call in standin.calls()] == ["GET", "POST", "GET"]


def test_a_request_is_drafted_finalized_paid_and_read_back(
    payments: PaystackPayments, standin: PaystackStandIn
) -> None:
    made = draft(payments)
    assert (made.status, made.paid, made.amount, made.currency) == ("draft", False, 125_000, "ngn")

    final = payments.finalize_request(made.code)
    standin.pay(made.code)
    read = payments.request(made.code)

    assert isinstance(final, PaymentRequest)
    assert isinstance(read, PaymentRequest)
    assert final.status == "pending"
    assert (read.status, read.paid, read.paid_at) == ("success", True, standin.clock.now())


def test_lines_and_a_due_date_go_along(payments: PaystackPayments, standin: PaystackStandIn) -> None:
    lines = [RequestLine("gpt-4o, first 1,000,000", 90_000), RequestLine("Base fee", 10_000)]
    made = payments.draft_request(
        customer_code=customer(payments).code,
        amount=100_000,
        currency="ngn",
        description="x",
        lines=lines,
        due=date(2026, 11, 15),
    )

    (kept,) = standin.payment_requests()
    assert isinstance(made, PaymentRequest)
    assert (made.amount, kept["due_date"]) == (100_000, "2026-11-15")
    assert kept["line_items"][1] == {"name": "Base fee", "amount": 10_000, "quantity": 1}


def test_requests_are_found_by_our_invoice_among_many(payments: PaystackPayments, standin: PaystackStandIn) -> None:
    wanted = draft(payments)
    for _ in range(100):
        draft(payments, OTHER)
    archived = draft(payments)
    assert payments.archive_request(archived.code) is None

    found = payments.requests_about(INVOICE, customer(payments).id, OCTOBER)

    assert isinstance(found, tuple)
    assert [one.code for one in found] == [wanted.code]  # on the second page, as the oldest comes last
    assert payments.requests_about(INVOICE, customer(payments, "bo@example.com").id, OCTOBER) == ()


def test_a_charge_under_a_used_reference_answers_what_became_of_it_then(
    payments: PaystackPayments, standin: PaystackStandIn
) -> None:
    card = standin.add_card(ADA)

    first, second = charge(payments, card), charge(payments, card)

    assert first == second
    assert isinstance(first, Transaction)
    assert (first.status, first.amount, first.currency) == ("success", 500_000, "ngn")
    assert standin.collected() == 500_000


def test_a_declined_charge_says_why_and_one_under_way_can_still_end_both_ways(
    payments: PaystackPayments, standin: PaystackStandIn
) -> None:
    card = standin.add_card(ADA, outcomes=["failed", "processing"])

    declined, under_way = charge(payments, card, "a-1"), charge(payments, card, "a-2")
    standin.settle("a-2")

    assert isinstance(declined, Transaction)
    assert isinstance(under_way, Transaction)
    assert (declined.status, declined.reason, under_way.status) == ("failed", "Insufficient Funds", "processing")
    settled = payments.transaction("a-2")
    assert isinstance(settled, Transaction)
    assert settled.status == "success"


def test_an_unknown_reference_is_a_404(payments: PaystackPayments) -> None:
    answer = payments.transaction("never-sent")

    assert isinstance(answer, Refused)
    assert answer.status == 404


def test_authorisations_are_read_and_never_shown(payments: PaystackPayments, standin: PaystackStandIn) -> None:
    code = standin.add_card(ADA)
    (card,) = customer(payments).authorizations

    assert (card.code, card.reusable, card.last4) == (code, True, "4081")
    assert code not in repr(customer(payments))


def test_a_card_of_somebody_else_is_refused_without_its_code_in_the_words(
    payments: PaystackPayments, standin: PaystackStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    code = standin.add_card("bo@example.com")

    answer = charge(payments, code)

    assert isinstance(answer, Refused)
    assert code not in answer.message
    assert ADA not in caplog.text
    assert code not in caplog.text


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("drop_before", OutcomeUnknown("ConnectionError")),
        ("drop_after", OutcomeUnknown("ConnectionError")),
        ("error_before", Failed(503)),
        ("error_after", Failed(503)),
    ],
)
def test_each_way_of_failing_is_an_outcome_of_its_own(
    payments: PaystackPayments, standin: PaystackStandIn, kind: str, outcome: object
) -> None:
    code = customer(payments).code
    standin.inject(kind, method="POST", status=503)

    answer = payments.draft_request(customer_code=code, amount=1, currency="ngn", description=str(INVOICE))

    assert answer == outcome
    assert len(standin.payment_requests()) == (1 if kind.endswith("after") else 0)


def test_a_rate_limit_says_how_long_to_wait(payments: PaystackPayments, standin: PaystackStandIn) -> None:
    standin.inject("rate_limit", retry_after=7, times=1)

    assert payments.request("PRQ_any") == RateLimited(7.0)


def test_a_page_that_is_missing_is_no_proof_that_nothing_is_there(
    payments: PaystackPayments, standin: PaystackStandIn
) -> None:
    number = customer(payments).id
    standin.inject("error_before", path="/paymentrequest", status=502)

    assert payments.requests_about(INVOICE, number, OCTOBER) == Failed(502)


def test_a_wrong_key_is_about_the_key(url: str) -> None:
    answer = PaystackPayments("sk_live_wrong", api_base=url).account_ok()

    assert isinstance(answer, Refused)
    assert answer.about_the_key


def test_the_account_answers_and_the_key_says_its_mode(payments: PaystackPayments, clock: FrozenClock) -> None:
    assert payments.account_ok() == AccountAnswers(livemode=False)
    assert PaystackPayments("sk_live_x").livemode is True
    assert PaystackPayments("whatever").livemode is None
    assert "whatever" not in repr(PaystackPayments("whatever"))


def test_nobody_there_is_an_outcome_and_no_exception() -> None:
    assert isinstance(PaystackPayments("sk_test_x", api_base="http://127.0.0.1:9").account_ok(), OutcomeUnknown)


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b'{"status": false, "message": "Customer not found"}', Refused(404, "Customer not found")),
        (400, b'{"status": false, "message": "Transaction reference not found."}', Refused(404, "Transaction reference not found.")),
        (401, b'{"status": false, "message": "Invalid key", "code": "invalid_Key"}', Refused(401, "Invalid key", "invalid_Key")),
        (400, b'{"status": false, "message": "AUTH_ab12 is spent"}', Refused(400, "AUTH_\u2026 is spent")),
        (403, b"<html>", Refused(403, "HTTP 403")),
        (502, b"<html>", Failed(502)),
        (200, b"<html>", OutcomeUnknown("HTTP 200 without an answer that can be read")),
        (200, b"[]", OutcomeUnknown("HTTP 200 without an answer that can be read")),
        (302, b'{"status": true}', OutcomeUnknown("HTTP 302 without an answer that can be read")),
        (200, b'{"status": true, "data": {}}', OutcomeUnknown("the answer has not the form that was expected")),
        (200, b" " * 5_000_001, OutcomeUnknown("HTTP 200 without an answer that can be read")),
        (429, b"", RateLimited(None)),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_whatever_comes_back_is_one_of_the_outcomes(
    payments: PaystackPayments, switch: Switch, status: int, body: bytes, outcome: object
) -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(body, status, {"Location": "/elsewhere"})(scope, receive, send)

    switch.app = answer

    assert payments.customer("ada@example.com") == outcome


def test_a_key_on_this_machines_netrc_is_not_sent_in_place_of_ours(
    payments: PaystackPayments, standin: PaystackStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))

    assert payments.account_ok() == AccountAnswers(livemode=False)

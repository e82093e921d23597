"""The stand-in is as strict as the real thing, and can be driven from another process."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from tollkeeper.payments.paystack import PaystackPayments
from tollkeeper.payments.paystack_objects import PaystackCustomer
from tollkeeper.testing import PaystackRemote, PaystackStandIn

Call = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def call(standin: PaystackStandIn, url: str) -> Call:
    def send(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
        sent = {"Authorization": f"Bearer {standin.secret_key}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
        connection.request(method, path, body if body is None or isinstance(body, str) else json.dumps(body), sent)
        response = connection.getresponse()
        answer = response.status, json.loads(response.read())
        connection.close()
        return answer

    return send


def asked(standin: PaystackStandIn, **changes: Any) -> dict[str, Any]:
    return {"customer": standin.add_customer("ada@example.com"), "amount": 100, **changes}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"amount": "100"}, 400),
        ({"amount": 0}, 400),
        ({"amount": -5}, 400),
        ({"amount": 1.5}, 400),
        ({"metadata": {"invoice": "1"}}, 400),  # payment requests take none
        ({"reference": "a-1"}, 400),
        ({"currency": "ngn"}, 400),
        ({"currency": "EUR"}, 400),
        ({"draft": "true"}, 400),
        ({"due_date": "soon"}, 400),
        ({"line_items": [{"name": "a", "amount": -5}]}, 400),
        ({"line_items": [{"name": "a", "amount": 5, "vat": 1}]}, 400),
        ({"split_code": "SPL_x"}, 501),
    ],
)
def test_payment_requests_take_what_paystack_takes_and_nothing_else(
    standin: PaystackStandIn, call: Call, changes: dict[str, Any], status: int
) -> None:
    answered, body = call("POST", "/paymentrequest", asked(standin, **changes))

    assert (answered, body["status"]) == (status, status == 200)
    assert len(standin.payment_requests()) == (1 if status == 200 else 0)


@pytest.mark.parametrize("reference", ["a:1", "a_1", "a 1", "ä", "", "a" * 101])
def test_references_with_other_characters_are_refused(standin: PaystackStandIn, call: Call, reference: str) -> None:
    card = standin.add_card("ada@example.com")
    body = {"email": "ada@example.com", "amount": 100, "authorization_code": card, "reference": reference}

    assert call("POST", "/transaction/charge_authorization", body)[0] == 400
    assert standin.transactions() == []


def test_a_reference_is_used_up_by_a_charge_that_failed(standin: PaystackStandIn, call: Call) -> None:
    card = standin.add_card("ada@example.com", outcomes=["failed"])
    body = {"email": "ada@example.com", "amount": 100, "authorization_code": card, "reference": "a-1"}

    first, second = (call("POST", "/transaction/charge_authorization", body) for _ in range(2))

    assert (first[0], first[1]["data"]["status"]) == (200, "failed")
    assert (second[0], second[1]["message"]) == (400, "Duplicate Transaction Reference")
    assert standin.collected() == 0


def test_a_card_is_charged_only_for_its_own_address_and_only_if_reusable(standin: PaystackStandIn, call: Call) -> None:
    theirs, once = standin.add_card("bo@example.com"), standin.add_card("ada@example.com", reusable=False)

    for card in (theirs, once, "AUTH_unknown"):
        body = {"email": "ada@example.com", "amount": 100, "authorization_code": card}
        assert call("POST", "/transaction/charge_authorization", body)[0] == 400


def test_drafts_and_archived_requests_cannot_be_paid(standin: PaystackStandIn, call: Call) -> None:
    draft = call("POST", "/paymentrequest", asked(standin, draft=True))[1]["data"]["request_code"]
    with pytest.raises(ValueError, match="draft"):
        standin.pay(draft)

    assert call("POST", f"/paymentrequest/finalize/{draft}", {})[0] == 200
    assert call("POST", f"/paymentrequest/finalize/{draft}", {})[0] == 400
    assert call("POST", f"/paymentrequest/archive/{draft}", {})[0] == 200
    with pytest.raises(ValueError, match="archived"):
        standin.pay(draft)
    assert call("GET", "/paymentrequest")[1]["data"] == []


def test_lists_come_in_pages_newest_first(standin: PaystackStandIn, call: Call) -> None:
    for amount in (1, 2, 3):
        call("POST", "/paymentrequest", asked(standin, amount=amount))

    first, second = (call("GET", f"/paymentrequest?perPage=2&page={page}")[1] for page in (1, 2))

    assert [one["amount"] for one in first["data"] + second["data"]] == [3, 2, 1]
    assert first["meta"]["pageCount"] == 2


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/customer", None, {"Authorization": "Bearer sk_wrong"}, 401),
        ("GET", "/customer", None, {"Authorization": "Basic abc"}, 401),
        ("GET", "/nothing", None, {}, 404),
        ("GET", "/customer/CUS_nobody", None, {}, 404),
        ("POST", "/customer", "{", {}, 400),
        ("POST", "/customer", "[]", {}, 400),
        ("POST", "/customer", {"email": "not an address"}, {}, 400),
        ("POST", "/customer", "email=a%40b.c", {"Content_Type": "application/x-www-form-urlencoded"}, 400),
        ("GET", "/paymentrequest?page=0", None, {}, 400),
        ("GET", "/paymentrequest?customer=CUS_x", None, {}, 400),
        ("GET", "/transaction/verify/none", None, {}, 404),
    ],
)
def test_other_calls_that_paystack_refuses(
    call: Call, method: str, path: str, body: Any, headers: dict[str, str], status: int
) -> None:
    answered, answer = call(method, path, body, **headers)

    assert (answered, answer["status"]) == (status, False)


def test_a_payment_gives_rise_to_both_its_events(standin: PaystackStandIn, call: Call) -> None:
    code = call("POST", "/paymentrequest", asked(standin))[1]["data"]["request_code"]
    standin.pay(code)

    assert [event["event"] for event in standin.events()] == [
        "paymentrequest.pending",
        "charge.success",
        "paymentrequest.success",
    ]
    assert standin.events()[2]["data"]["request_code"] == code


def test_it_runs_as_a_process_and_is_driven_from_here() -> None:
    command = [sys.executable, "-m", "tollkeeper.testing.paystack_standin", "--api-key", "sk_test_own"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        remote = PaystackRemote(process.stdout.readline().strip())
        try:
            payments = PaystackPayments("sk_test_own", api_base=remote.url, timeout_seconds=10)
            customer = payments.customer_for("ada@example.com")
            assert isinstance(customer, PaystackCustomer)
            card = remote.add_card("ada@example.com", outcomes=["processing"])
            payments.charge(authorization=card, email="ada@example.com", amount=5, currency="ngn", reference="r-1")
            made = payments.draft_request(customer_code=customer.code, amount=7, currency="ngn", description="x")
            payments.finalize_request(getattr(made, "code", ""))

            assert remote.settle("r-1")["status"] == "success"
            assert remote.pay(remote.payment_requests()[0]["request_code"])["paid"] is True
            assert [one["amount"] for one in remote.transactions()] == [5, 7]
            assert [event["event"] for event in remote.events()].count("charge.success") == 2
            remote.inject("rate_limit")
            with pytest.raises(ValueError, match="not pending"):
                remote.pay(remote.payment_requests()[0]["request_code"])
            assert len(remote.faults()) == 1
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) in (0, -signal.SIGTERM)


def test_the_same_seed_gives_the_same_codes(standin: PaystackStandIn) -> None:
    first, second = (PaystackStandIn(standin.clock, seed="s").add_customer("ada@example.com") for _ in range(2))

    assert first == second != standin.add_customer("ada@example.com")
    assert isinstance(standin.clock.now(), datetime)

"""Things going wrong on purpose: what the client sees, and what happened in truth."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import stripe
from starlette.types import Message, Scope

from tollkeeper.testing import FaultKind, StripeStandIn

HttpCall = Callable[..., Any]
ADA: Any = {"email": "ada@example.com"}


@pytest.fixture
def customers(client: stripe.StripeClient) -> Callable[[], int]:
    """How many customers there are in truth."""
    return lambda: len(client.v1.customers.list({"limit": 100}).data)


@pytest.mark.parametrize(("kind", "applied"), [("drop_before", 0), ("drop_after", 1)])
def test_a_dropped_connection_leaves_the_outcome_unknown(
    standin: StripeStandIn, client: stripe.StripeClient, customers: Callable[[], int], kind: str, applied: int
) -> None:
    standin.inject(kind, method="POST")

    with pytest.raises(stripe.APIConnectionError):
        client.v1.customers.create(ADA)

    assert customers() == applied
    (dropped, _) = standin.calls()
    assert (dropped["replied"], dropped["fault"]) == (False, kind)
    assert dropped["status"] == (200 if applied else None)


def test_after_a_lost_reply_the_same_key_gets_the_answer_that_was_lost(
    standin: StripeStandIn, client: stripe.StripeClient, customers: Callable[[], int]
) -> None:
    standin.inject("drop_after", method="POST", times=2)
    for _ in range(2):
        with pytest.raises(stripe.APIConnectionError):
            client.v1.customers.create(ADA, {"idempotency_key": "k"})

    assert client.v1.customers.create(ADA, {"idempotency_key": "k"}).email == "ada@example.com"
    assert customers() == 1


@pytest.mark.parametrize(("kind", "applied"), [("error_before", 0), ("error_after", 1)])
def test_an_error_can_come_before_or_after_the_deed(
    standin: StripeStandIn, client: stripe.StripeClient, customers: Callable[[], int], kind: str, applied: int
) -> None:
    standin.inject(kind, method="POST", status=503)

    with pytest.raises(stripe.APIError) as error:
        client.v1.customers.create(ADA)

    assert error.value.http_status == 503
    assert error.value.error is not None
    assert error.value.error.type == "api_error"
    assert customers() == applied


def test_an_error_after_a_refusal_hides_the_refusal(standin: StripeStandIn, client: stripe.StripeClient) -> None:
    standin.inject("error_after", method="POST")

    with pytest.raises(stripe.APIError):
        client.v1.customers.update("cus_nobody", ADA)


@pytest.mark.parametrize("retry_after", [None, 7])
def test_a_rate_limit_says_how_long_to_wait_only_if_told_to(
    standin: StripeStandIn, client: stripe.StripeClient, customers: Callable[[], int], retry_after: int | None
) -> None:
    standin.inject("rate_limit", method="POST", retry_after=retry_after)

    with pytest.raises(stripe.RateLimitError) as error:
        client.v1.customers.create(ADA)

    assert error.value.headers is not None
    assert error.value.headers.get("Retry-After") == (None if retry_after is None else "7")
    assert error.value.http_status == 429
    assert customers() == 0


@pytest.mark.parametrize("kind", ["hang_before", "hang_after"])
def test_a_slow_call_is_answered_in_the_end(standin: StripeStandIn, client: stripe.StripeClient, kind: str) -> None:
    standin.inject(kind, method="POST", seconds=0.2)
    began = time.monotonic()

    assert client.v1.customers.create(ADA)

    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize(("kind", "applied_meanwhile"), [("hang_before", 0), ("hang_after", 1)])
def test_a_hang_is_before_or_after_the_deed(
    standin: StripeStandIn,
    url: str,
    customers: Callable[[], int],
    kind: str,
    applied_meanwhile: int,
) -> None:
    standin.inject(kind, method="POST", seconds=0.5)
    impatient = stripe.StripeClient(
        standin.api_key, base_addresses={"api": url}, http_client=stripe.RequestsClient(timeout=0.1)
    )

    with pytest.raises(stripe.APIConnectionError, match="timed out"):
        impatient.v1.customers.create(ADA)

    assert customers() == applied_meanwhile
    time.sleep(0.6)
    assert customers() == 1


def test_a_fault_meets_the_calls_it_matches_and_no_others(standin: StripeStandIn, client: stripe.StripeClient) -> None:
    standin.inject("error_before", method="POST", path="/v1/customers/*")
    customer = client.v1.customers.create(ADA)
    client.v1.customers.retrieve(customer.id)

    with pytest.raises(stripe.APIError):
        client.v1.customers.update(customer.id, {"name": "Ada"})
    client.v1.customers.update(customer.id, {"name": "Ada"})


def test_a_fault_happens_as_often_as_asked(standin: StripeStandIn, client: stripe.StripeClient) -> None:
    standin.inject("rate_limit", times=3)
    for left in (2, 1, 0):
        with pytest.raises(stripe.RateLimitError):
            client.v1.customers.list()
        assert sum(fault["times"] for fault in standin.faults()) == left

    client.v1.customers.list()


def test_faults_come_in_the_order_they_were_asked_for(standin: StripeStandIn, http_call: HttpCall) -> None:
    standin.inject("rate_limit")
    standin.inject("error_before", status=502)

    assert [http_call("GET", "/v1/customers").status for _ in range(3)] == [429, 502, 200]


def test_a_replayed_answer_neither_meets_nor_uses_up_a_fault_of_applying(
    standin: StripeStandIn, client: stripe.StripeClient
) -> None:
    client.v1.customers.create(ADA, {"idempotency_key": "k"})
    standin.inject("error_before", method="POST")

    assert client.v1.customers.create(ADA, {"idempotency_key": "k"})
    with pytest.raises(stripe.APIError):
        client.v1.customers.create(ADA)


def test_a_call_that_fails_its_checks_uses_up_no_fault_of_applying(standin: StripeStandIn, http_call: HttpCall) -> None:
    standin.inject("error_after", method="POST")

    assert http_call("POST", "/v1/customers", "emial=x").status == 400
    assert http_call("POST", "/v1/customers", "").status == 500


def test_waiting_faults_can_be_called_off(standin: StripeStandIn, client: stripe.StripeClient) -> None:
    standin.inject("rate_limit", times=5)
    standin.clear_faults()

    assert standin.faults() == []
    client.v1.customers.list()


def test_a_fault_that_makes_no_sense_is_refused(standin: StripeStandIn) -> None:
    with pytest.raises(ValueError, match="melt"):
        standin.inject("melt")
    with pytest.raises(ValueError, match="times"):
        standin.inject(FaultKind.RATE_LIMIT, times=0)


def test_in_process_a_dropped_connection_is_a_connection_error(standin: StripeStandIn) -> None:
    standin.inject("drop_before")
    scope: Scope = {"type": "http", "method": "GET", "path": "/v1/customers", "query_string": b"", "headers": []}

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        raise AssertionError(f"nothing should be sent, but was: {message}")

    async def call() -> None:
        await standin.app(scope, receive, send)

    with pytest.raises(ConnectionResetError):
        asyncio.run(call())

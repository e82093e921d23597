from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import stripe
from starlette.types import Message, Scope

from tollkeeper.testing import FrozenClock, StripeStandIn

from .conftest import wait_until_met

HttpCall = Callable[..., Any]
ADA: Any = {"email": "ada@example.com"}


def test_a_repeat_is_answered_from_the_first_and_says_so(standin: StripeStandIn, http_call: HttpCall) -> None:
    first = http_call("POST", "/v1/customers", "email=a%40example.com", Idempotency_Key="k")
    again = http_call("POST", "/v1/customers", "email=a%40example.com", Idempotency_Key="k")

    assert again.json == first.json
    assert (again.headers["idempotent-replayed"], again.headers["original-request"]) == (
        "true",
        first.headers["request-id"],
    )
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotency-key"] == "k"
    assert [call["replayed"] for call in standin.calls()] == [False, True]


def test_a_repeat_executes_nothing(client: stripe.StripeClient) -> None:
    for _ in range(3):
        client.v1.customers.create(ADA, {"idempotency_key": "k"})

    assert len(client.v1.customers.list().data) == 1


def test_without_a_key_every_call_executes(http_call: HttpCall) -> None:
    for _ in range(2):
        assert "idempotency-key" not in http_call("POST", "/v1/customers", "").headers

    assert len(http_call("GET", "/v1/customers").json["data"]) == 2


def test_the_kept_answer_does_not_change_with_the_object(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create(ADA, {"idempotency_key": "k"})
    client.v1.customers.update(customer.id, {"email": "new@example.com"})

    assert client.v1.customers.create(ADA, {"idempotency_key": "k"}).email == "ada@example.com"


def test_the_same_key_with_other_parameters_is_an_idempotency_error(client: stripe.StripeClient) -> None:
    client.v1.customers.create(ADA, {"idempotency_key": "k"})

    with pytest.raises(stripe.IdempotencyError, match="same parameters") as error:
        client.v1.customers.create({"email": "grace@example.com"}, {"idempotency_key": "k"})
    assert error.value.http_status == 400
    assert len(client.v1.customers.list().data) == 1


def test_the_same_key_on_another_path_is_an_idempotency_error(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create(ADA, {"idempotency_key": "k"})

    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        client.v1.customers.update(customer.id, ADA, {"idempotency_key": "k"})


def test_a_call_that_fails_its_checks_keeps_nothing(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.create({"emial": "typo"}, {"idempotency_key": "k"})  # type: ignore[arg-type]  # the mistake tested

    assert client.v1.customers.create(ADA, {"idempotency_key": "k"}).email == "ada@example.com"


def test_a_refusal_by_the_operation_itself_is_kept(standin: StripeStandIn, client: stripe.StripeClient) -> None:
    event: Any = {"event_name": "ai_tokens", "payload": {"stripe_customer_id": standin.add_customer(), "value": "1"}}
    with pytest.raises(stripe.InvalidRequestError, match="No active meter"):
        client.v1.billing.meter_events.create(event, {"idempotency_key": "k"})

    standin.add_meter("ai_tokens")

    with pytest.raises(stripe.InvalidRequestError, match="No active meter") as error:
        client.v1.billing.meter_events.create(event, {"idempotency_key": "k"})
    assert error.value.headers is not None
    assert error.value.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("kind", ["error_before", "error_after"])
def test_a_stored_500_is_repeated_until_the_key_is_forgotten(
    standin: StripeStandIn, client: stripe.StripeClient, kind: str
) -> None:
    standin.inject(kind, method="POST")
    for replayed in (None, "true", "true"):
        with pytest.raises(stripe.APIError) as error:
            client.v1.customers.create(ADA, {"idempotency_key": "k"})
        assert error.value.headers is not None
        assert error.value.headers.get("Idempotent-Replayed") == replayed

    assert client.v1.customers.create(ADA, {"idempotency_key": "another"})
    assert len(client.v1.customers.list().data) == (2 if kind == "error_after" else 1)


def test_a_rate_limited_call_keeps_nothing(standin: StripeStandIn, client: stripe.StripeClient) -> None:
    standin.inject("rate_limit")
    with pytest.raises(stripe.RateLimitError):
        client.v1.customers.create(ADA, {"idempotency_key": "k"})

    assert client.v1.customers.create(ADA, {"idempotency_key": "k"})


def test_a_key_whose_call_is_still_running_is_a_409(
    standin: StripeStandIn, client: stripe.StripeClient, http_call: HttpCall
) -> None:
    standin.inject("hang_before", method="POST", seconds=0.4)
    slow = threading.Thread(target=lambda: client.v1.customers.create(ADA, {"idempotency_key": "k"}))
    slow.start()
    wait_until_met(standin)

    assert standin.prune_idempotency_keys() == 0  # what is running is not forgotten
    reply = http_call("POST", "/v1/customers", "email=ada%40example.com", Idempotency_Key="k")
    slow.join()

    assert reply.status == 409
    assert (reply.error["type"], reply.error["code"]) == ("idempotency_error", "idempotency_key_in_use")
    assert http_call("POST", "/v1/customers", "email=ada%40example.com", Idempotency_Key="k").status == 200
    assert len(client.v1.customers.list().data) == 1


@pytest.mark.parametrize(("hours", "customers"), [(23.99, 1), (24, 2)])
def test_keys_are_kept_for_a_day_of_the_clock(
    clock: FrozenClock, client: stripe.StripeClient, hours: float, customers: int
) -> None:
    client.v1.customers.create(ADA, {"idempotency_key": "k"})
    clock.advance(timedelta(hours=hours))
    client.v1.customers.create(ADA, {"idempotency_key": "k"})

    assert len(client.v1.customers.list().data) == customers


def test_keys_can_be_pruned_as_if_a_day_had_passed(
    standin: StripeStandIn, clock: FrozenClock, client: stripe.StripeClient
) -> None:
    client.v1.customers.create(ADA, {"idempotency_key": "old"})
    clock.advance(timedelta(hours=2))
    client.v1.customers.create(ADA, {"idempotency_key": "young"})

    assert standin.prune_idempotency_keys(older_than=timedelta(hours=2)) == 1
    client.v1.customers.create(ADA, {"idempotency_key": "young"})
    client.v1.customers.create(ADA, {"idempotency_key": "old"})

    assert len(client.v1.customers.list().data) == 3
    assert standin.prune_idempotency_keys() == 2


def test_a_key_has_at_most_255_characters(http_call: HttpCall) -> None:
    assert http_call("POST", "/v1/customers", "", Idempotency_Key="k" * 255).status == 200
    assert http_call("POST", "/v1/customers", "", Idempotency_Key="k" * 256).status == 400


def test_an_empty_key_is_no_key(http_call: HttpCall) -> None:
    replies = [http_call("POST", "/v1/customers", "", Idempotency_Key="") for _ in range(2)]

    assert replies[0].json["id"] != replies[1].json["id"]


def test_a_call_that_is_broken_off_leaves_its_key_free(standin: StripeStandIn, http_call: HttpCall) -> None:
    async def break_off() -> None:
        standin.inject("hang_before", seconds=60)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(standin.app(scope, receive, send), timeout=0.05)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        raise AssertionError(f"nothing should be sent, but was: {message}")

    headers = [(b"authorization", f"Bearer {standin.api_key}".encode()), (b"idempotency-key", b"k")]
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/customers",
        "query_string": b"",
        "headers": headers,
    }
    asyncio.run(break_off())

    assert http_call("POST", "/v1/customers", "", Idempotency_Key="k").status == 200


def test_a_key_on_a_get_means_nothing(http_call: HttpCall) -> None:
    http_call("GET", "/v1/customers?limit=1", Idempotency_Key="k")

    reply = http_call("GET", "/v1/customers?limit=2", Idempotency_Key="k")

    assert reply.status == 200
    assert "idempotent-replayed" not in reply.headers

"""Who may ask, for what, and in which words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import stripe

from tollkeeper.testing import FrozenClock, StripeStandIn

from .conftest import sdk_client

HttpCall = Callable[..., Any]


def test_a_call_without_a_key_is_a_401(http_call: HttpCall) -> None:
    reply = http_call("GET", "/v1/customers", Authorization=None)

    assert (reply.status, reply.error["type"]) == (401, "invalid_request_error")


@pytest.mark.parametrize("header", ["Basic {key}", "{key}", "Bearer", "Bearer ", ""])
def test_only_a_bearer_key_counts(standin: StripeStandIn, http_call: HttpCall, header: str) -> None:
    reply = http_call("GET", "/v1/customers", Authorization=header.format(key=standin.api_key))

    assert reply.status == 401
    assert "did not provide an API key" in reply.error["message"]


def test_the_sdk_sees_a_wrong_key_as_an_authentication_error_that_hides_most_of_it(url: str) -> None:
    with pytest.raises(stripe.AuthenticationError, match=r"sk_test_\*+_key$") as error:
        sdk_client("sk_test_some_other_made_up_key", url).v1.customers.list()

    assert error.value.http_status == 401


def test_a_restricted_key_reaches_its_own_operations_only(
    clock: FrozenClock, behind: Callable[[StripeStandIn], str]
) -> None:
    standin = StripeStandIn(clock, restricted_keys={"rk_test_reporter": ("POST /v1/billing/meter_*",)})
    standin.add_meter("ai_tokens")
    reporter = sdk_client("rk_test_reporter", behind(standin))

    payload = {"stripe_customer_id": standin.add_customer(), "value": "1"}
    assert reporter.v1.billing.meter_events.create({"event_name": "ai_tokens", "payload": payload})
    with pytest.raises(stripe.PermissionError) as error:
        reporter.v1.billing.meters.list()
    assert error.value.http_status == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/nothing"),
        ("POST", "/v1/subscription_items/si_1/usage_records"),  # what tutorials show, gone since 2025
        ("DELETE", "/v1/billing/meters/mtr_1"),
        ("PUT", "/v1/customers"),
        ("GET", "/v1/customers/cus_1/cards"),
        ("GET", "/"),
    ],
)
def test_what_the_api_does_not_have_is_a_404(http_call: HttpCall, method: str, path: str) -> None:
    reply = http_call(method, path)

    assert reply.status == 404
    assert reply.error["message"] == f"Unrecognized request URL ({method}: {path})."


def test_an_unknown_parameter_reaches_the_sdk_with_its_name_and_code(
    client: stripe.StripeClient, refusal: Callable[..., stripe.InvalidRequestError]
) -> None:
    error = refusal(lambda: client.v1.customers.create({"emial": "ada@example.com"}))  # type: ignore[arg-type]  # the mistake tested

    assert (error.http_status, error.code, error.param) == (400, "parameter_unknown", "emial")


def test_an_unknown_query_parameter_is_refused_too(http_call: HttpCall) -> None:
    reply = http_call("GET", "/v1/customers?page=2")

    assert (reply.status, reply.error["param"]) == (400, "page")


def test_a_parameter_that_stripe_takes_and_the_stand_in_ignores_is_a_loud_501(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.APIError, match="tax_id_data") as error:
        client.v1.customers.create({"tax_id_data": [{"type": "eu_vat", "value": "DE123456789"}]})

    assert error.value.http_status == 501


def test_every_parameter_a_resource_claims_to_act_on_exists_at_stripe() -> None:
    from tollkeeper.testing.stripe_standin.resources import ROUTES
    from tollkeeper.testing.stripe_standin.shapes import _fields

    strangers = [(one.template, name) for one in ROUTES for name in one.acts_on if name not in _fields(one.shape)]

    assert strangers == []


def test_json_is_refused_where_a_form_is_wanted(http_call: HttpCall) -> None:
    reply = http_call("POST", "/v1/customers", '{"email": "ada@example.com"}', Content_Type="application/json")

    assert reply.status == 400
    assert "application/x-www-form-urlencoded" in reply.error["message"]


def test_another_api_version_than_the_sdks_is_refused(http_call: HttpCall) -> None:
    assert http_call("GET", "/v1/customers", Stripe_Version="2024-06-20").status == 400
    assert http_call("GET", "/v1/customers", Stripe_Version=stripe.api_version).status == 200
    assert http_call("GET", "/v1/customers").status == 200


def test_calls_for_a_connected_account_are_a_loud_501(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.APIError, match="Stripe-Account"):
        client.v1.customers.list({}, {"stripe_account": "acct_made_up"})


def test_every_answer_has_a_request_id_of_its_own(http_call: HttpCall) -> None:
    replies = [http_call("GET", "/v1/customers"), http_call("GET", "/v1/nothing"), http_call("GET", "/v1/customers")]

    ids = [reply.headers["request-id"] for reply in replies]
    assert all(one.startswith("req_") for one in ids)
    assert len(set(ids)) == 3


def test_an_error_with_a_code_says_where_to_read_about_it(http_call: HttpCall) -> None:
    error = http_call("GET", "/v1/customers?page=2").error

    assert error["doc_url"] == "https://docs.stripe.com/error-codes/parameter-unknown"


def test_calls_are_recorded_with_how_they_were_answered(standin: StripeStandIn, client: stripe.StripeClient) -> None:
    client.v1.customers.create({"email": "ada@example.com"}, {"idempotency_key": "one"})

    (call,) = standin.calls()
    assert call["method"] == "POST"
    assert call["path"] == "/v1/customers"
    assert call["params"] == {"email": "ada@example.com"}
    assert call["idempotency_key"] == "one"
    assert (call["status"], call["replayed"], call["replied"], call["fault"]) == (200, False, True, None)


def test_no_key_is_ever_recorded(standin: StripeStandIn, client: stripe.StripeClient) -> None:
    client.v1.customers.list()

    assert standin.api_key not in str(standin.calls())


def test_a_seed_makes_the_ids_repeatable_and_no_seed_makes_them_new(clock: FrozenClock) -> None:
    assert StripeStandIn(clock, seed="a").add_customer() == StripeStandIn(clock, seed="a").add_customer()
    assert StripeStandIn(clock).add_customer() != StripeStandIn(clock).add_customer()

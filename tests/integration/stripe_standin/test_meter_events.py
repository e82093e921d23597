from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import stripe

from tollkeeper.testing import FrozenClock, Rules, StripeStandIn

from .conftest import sdk_client

Refusal = Callable[..., stripe.InvalidRequestError]
Send = Callable[..., stripe.billing.MeterEvent]


@pytest.fixture
def customer(standin: StripeStandIn) -> str:
    standin.add_meter("ai_tokens")
    return standin.add_customer()


@pytest.fixture
def send(client: stripe.StripeClient, customer: str) -> Send:
    """Sends an event of one token, different in what is given."""

    def create(**different: Any) -> stripe.billing.MeterEvent:
        payload = {"stripe_customer_id": customer, "value": "1"}
        event: Any = {"event_name": "ai_tokens", "payload": payload} | different
        return client.v1.billing.meter_events.create(event)

    return create


def now(clock: FrozenClock) -> int:
    return int(clock.now().timestamp())


def test_an_event_is_answered_with_what_was_sent(clock: FrozenClock, customer: str, send: Send) -> None:
    payload = {"stripe_customer_id": customer, "value": "12", "model": "gpt-4o", "token_type": "input"}

    event = send(identifier="u-1.p-1", timestamp=now(clock) - 121, payload=payload)

    assert event.object == "billing.meter_event"
    assert (event.event_name, event.identifier) == ("ai_tokens", "u-1.p-1")
    assert (event.timestamp, event.created, event.livemode) == (now(clock) - 121, now(clock), False)
    assert event.payload.to_dict() == payload


def test_identifier_and_timestamp_have_defaults(clock: FrozenClock, send: Send) -> None:
    first, second = send(), send()

    assert first.timestamp == now(clock)
    assert first.identifier != second.identifier


def test_an_event_without_an_active_meter_is_refused(
    standin: StripeStandIn, client: stripe.StripeClient, send: Send, refusal: Refusal
) -> None:
    error = refusal(lambda: send(event_name="ai_images"))
    assert error.http_status == 400
    assert error.user_message == 'No active meter found for event name "ai_images".'

    client.v1.billing.meters.deactivate(standin.add_meter("ai_images"))
    assert "No active meter found" in str(refusal(lambda: send(event_name="ai_images")))


def test_an_identifier_is_refused_a_second_time_without_a_code(
    standin: StripeStandIn, send: Send, refusal: Refusal
) -> None:
    send(identifier="once")

    error = refusal(lambda: send(identifier="once"))

    assert (error.http_status, error.code) == (400, None)
    assert error.user_message == "An event already exists with identifier once."
    assert len(standin.meter_events()) == 1


@pytest.mark.parametrize(("hours", "received"), [(23.99, 1), (24, 2)])
def test_an_identifier_counts_again_after_a_day(
    standin: StripeStandIn, clock: FrozenClock, send: Send, hours: float, received: int
) -> None:
    send(identifier="once")
    clock.advance(timedelta(hours=hours))

    if received == 1:
        with pytest.raises(stripe.InvalidRequestError, match="already exists"):
            send(identifier="once")
    else:
        send(identifier="once")
    assert len(standin.meter_events()) == received


def test_identifiers_can_be_forgotten_as_if_a_day_had_passed(standin: StripeStandIn, send: Send) -> None:
    send(identifier="once")

    assert standin.forget_identifiers(older_than=timedelta(hours=1)) == 0
    assert standin.forget_identifiers() == 1

    assert send(identifier="once").identifier == "once"


def test_an_event_refused_at_once_leaves_its_identifier_free(clock: FrozenClock, send: Send, refusal: Refusal) -> None:
    refusal(lambda: send(identifier="once", timestamp=now(clock) + 3600))

    assert send(identifier="once")


@pytest.mark.parametrize(
    ("offset", "code"),
    [
        (timedelta(days=-35), None),
        (timedelta(days=-35, seconds=-1), "timestamp_too_far_in_past"),
        (timedelta(minutes=5), None),
        (timedelta(minutes=5, seconds=1), "timestamp_in_future"),
    ],
)
def test_an_event_is_taken_from_35_days_back_to_5_minutes_ahead(
    clock: FrozenClock, send: Send, refusal: Refusal, offset: timedelta, code: str | None
) -> None:
    timestamp = now(clock) + int(offset.total_seconds())

    if code is None:
        assert send(timestamp=timestamp).timestamp == timestamp
    else:
        assert refusal(lambda: send(timestamp=timestamp)).code == code


@pytest.mark.parametrize("value", ["0", "1", "-3", "12.5", "123456789012345678901"])
def test_a_value_is_a_decimal_in_a_string(customer: str, send: Send, value: str) -> None:
    assert send(payload={"stripe_customer_id": customer, "value": value}).payload["value"] == value


@pytest.mark.parametrize("value", ["", "1e-05", "1_000", "NaN", "inf", "0x1", " 1", "+1", "1.", ".5", "١"])
def test_anything_else_is_no_value(customer: str, send: Send, refusal: Refusal, value: str) -> None:
    error = refusal(lambda: send(payload={"stripe_customer_id": customer, "value": value}))

    assert (error.http_status, error.code) == (400, "meter_event_invalid_value")


def test_a_payload_without_value_or_customer_is_refused(customer: str, send: Send, refusal: Refusal) -> None:
    assert refusal(lambda: send(payload={"stripe_customer_id": customer})).code == "meter_event_invalid_value"
    assert refusal(lambda: send(payload={"value": "1"})).code == "meter_event_no_customer_defined"


@pytest.mark.parametrize("name", ["event_name", "identifier"])
def test_event_name_and_identifier_have_at_most_100_characters(
    standin: StripeStandIn, send: Send, refusal: Refusal, name: str
) -> None:
    standin.add_meter("x" * 100)

    assert send(**{name: "x" * 100})
    error = refusal(lambda: send(**{name: "x" * 101}))
    assert (error.param, error.user_message) == (name, f"Invalid string: {name} must be at most 100 characters")


def test_an_unknown_customer_is_found_out_only_later(
    standin: StripeStandIn, client: stripe.StripeClient, send: Send
) -> None:
    deleted = standin.add_customer()
    client.v1.customers.delete(deleted)

    for stranger in ("cus_nobody", deleted):
        send(payload={"stripe_customer_id": stranger, "value": "7"})

    assert [(event["status"], event["reason"]) for event in standin.meter_events()] == [
        ("rejected", "meter_event_customer_not_found"),
        ("rejected", "meter_event_customer_not_found"),
    ]


def test_which_flaws_are_found_later_can_be_chosen(
    clock: FrozenClock, behind: Callable[[StripeStandIn], str], refusal: Refusal
) -> None:
    standin = StripeStandIn(clock, rules=Rules(refused_later=frozenset({"timestamp_in_future"})))
    standin.add_meter("ai_tokens")
    events = sdk_client(standin.api_key, behind(standin)).v1.billing.meter_events
    known, stranger = ({"stripe_customer_id": who, "value": "1"} for who in (standin.add_customer(), "cus_nobody"))

    events.create({"event_name": "ai_tokens", "payload": known, "timestamp": now(clock) + 3600})
    error = refusal(lambda: events.create({"event_name": "ai_tokens", "payload": stranger}))

    assert error.code == "meter_event_customer_not_found"
    assert [event["reason"] for event in standin.meter_events()] == ["timestamp_in_future"]


def test_a_meters_own_payload_keys_are_the_ones_read(
    standin: StripeStandIn, client: stripe.StripeClient, refusal: Refusal
) -> None:
    client.v1.billing.meters.create(
        {
            "display_name": "Images",
            "event_name": "ai_images",
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"type": "by_id", "event_payload_key": "who"},
            "value_settings": {"event_payload_key": "images"},
        }
    )
    customer = standin.add_customer()

    client.v1.billing.meter_events.create({"event_name": "ai_images", "payload": {"who": customer, "images": "3"}})
    error = refusal(
        lambda: client.v1.billing.meter_events.create(
            {"event_name": "ai_images", "payload": {"stripe_customer_id": customer, "value": "3"}}
        )
    )

    assert error.code == "meter_event_invalid_value"
    assert [(event["customer"], event["status"]) for event in standin.meter_events()] == [(customer, "counted")]


def test_an_event_can_be_cancelled_within_a_day(
    standin: StripeStandIn, clock: FrozenClock, client: stripe.StripeClient, send: Send
) -> None:
    send(identifier="wrong")
    clock.advance(timedelta(hours=24))

    adjustment = client.v1.billing.meter_event_adjustments.create(
        {"type": "cancel", "event_name": "ai_tokens", "cancel": {"identifier": "wrong"}}
    )

    assert (adjustment.object, adjustment.status) == ("billing.meter_event_adjustment", "complete")
    assert [event["status"] for event in standin.meter_events()] == ["cancelled"]


@pytest.mark.parametrize(
    ("identifier", "event_name", "later", "twice"),
    [
        ("unknown", "ai_tokens", timedelta(0), False),
        ("wrong", "ai_images", timedelta(0), False),
        ("wrong", "ai_tokens", timedelta(hours=24, seconds=1), False),
        ("wrong", "ai_tokens", timedelta(0), True),
    ],
)
def test_what_cannot_be_cancelled_is_refused(
    clock: FrozenClock,
    client: stripe.StripeClient,
    send: Send,
    refusal: Refusal,
    identifier: str,
    event_name: str,
    later: timedelta,
    twice: bool,
) -> None:
    send(identifier="wrong")
    clock.advance(later)
    cancel: Any = {"type": "cancel", "event_name": event_name, "cancel": {"identifier": identifier}}
    if twice:
        client.v1.billing.meter_event_adjustments.create(cancel)

    error = refusal(lambda: client.v1.billing.meter_event_adjustments.create(cancel))

    assert error.param == "cancel[identifier]"


def test_cancelling_needs_an_identifier(client: stripe.StripeClient, refusal: Refusal) -> None:
    error = refusal(
        lambda: client.v1.billing.meter_event_adjustments.create({"type": "cancel", "event_name": "ai_tokens"})
    )

    assert (error.param, error.code) == ("cancel[identifier]", "parameter_missing")

"""What the adapter makes of every answer, and of none, that the real SDK can get."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tollkeeper.payments import (
    Accepted,
    AccountAnswers,
    AlreadyThere,
    Failed,
    MeterEventOutcome,
    OutcomeUnknown,
    RateLimited,
    Refused,
)
from tollkeeper.payments.stripe import StripeDidNotAnswer, StripePayments, StripeRefused
from tollkeeper.testing import FrozenClock, StripeStandIn

from .conftest import wait_until_met

Report = Callable[..., MeterEventOutcome]

OCTOBER, NOVEMBER = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
LAST_SECOND = int(NOVEMBER.timestamp()) - 1


@pytest.fixture
def meter(standin: StripeStandIn) -> str:
    return standin.add_meter("ai_tokens")


@pytest.fixture
def customer(standin: StripeStandIn, meter: str) -> str:
    return standin.add_customer()


@pytest.fixture
def report(payments: StripePayments, customer: str) -> Report:
    """Reports seven tokens for October, different in what is given."""
    return lambda **different: report_with(payments, customer, **different)


def report_with(payments: StripePayments, customer: str, **different: Any) -> MeterEventOutcome:
    event: dict[str, Any] = {
        "event_name": "ai_tokens",
        "identifier": "u-1.p-1",
        "timestamp": LAST_SECOND,
        "payload": {"stripe_customer_id": customer, "value": "7", "model": "gpt-4o", "token_type": "input"},
        "idempotency_key": "u-1.p-1:r1",
    }
    return payments.send_meter_event(**event | different)


def test_an_event_that_is_taken_is_accepted_and_arrives_as_it_was_sent(
    standin: StripeStandIn, report: Report, customer: str
) -> None:
    outcome = report()

    (event,) = standin.meter_events()
    (call,) = standin.calls()
    assert outcome == Accepted(call["request_id"])
    assert (event["identifier"], event["timestamp"], event["event_name"]) == ("u-1.p-1", LAST_SECOND, "ai_tokens")
    assert event["payload"] == {"stripe_customer_id": customer, "value": "7", "model": "gpt-4o", "token_type": "input"}
    assert call["idempotency_key"] == "u-1.p-1:r1"


def test_the_same_call_again_is_accepted_again_and_counts_once(standin: StripeStandIn, report: Report) -> None:
    assert [type(report()) for _ in range(2)] == [Accepted, Accepted]
    assert len(standin.meter_events()) == 1


def test_a_repeated_identifier_under_a_new_key_is_already_there(standin: StripeStandIn, report: Report) -> None:
    report()

    assert isinstance(report(idempotency_key="u-1.p-1:r2"), AlreadyThere)
    assert len(standin.meter_events()) == 1


def test_a_lost_reply_leaves_the_outcome_unknown_until_asked_again(standin: StripeStandIn, report: Report) -> None:
    standin.inject("drop_after")

    assert report() == OutcomeUnknown("ConnectionError")
    assert isinstance(report(), Accepted)
    assert len(standin.meter_events()) == 1


def test_nothing_is_tried_again_behind_the_callers_back(standin: StripeStandIn, report: Report) -> None:
    standin.inject("drop_before", times=5)
    report()
    standin.clear_faults()
    standin.inject("error_before", times=5)
    report()

    assert len(standin.calls()) == 2


def test_a_service_that_takes_too_long_leaves_the_outcome_unknown(
    standin: StripeStandIn, url: str, customer: str
) -> None:
    standin.inject("hang_after", seconds=0.5)
    impatient = StripePayments(standin.api_key, api_base=url, timeout_seconds=0.1)

    assert report_with(impatient, customer) == OutcomeUnknown("ReadTimeout")


def test_a_service_that_is_not_there_leaves_the_outcome_unknown(customer: str) -> None:
    nowhere = StripePayments("sk_test_made_up", api_base="http://127.0.0.1:9", timeout_seconds=1)

    assert report_with(nowhere, customer) == OutcomeUnknown("ConnectionError")


def test_a_call_with_the_same_key_still_running_leaves_the_outcome_unknown(
    standin: StripeStandIn, report: Report
) -> None:
    standin.inject("hang_before", seconds=0.3)
    slow = threading.Thread(target=report)
    slow.start()
    wait_until_met(standin)

    outcome = report()
    slow.join()

    assert outcome == OutcomeUnknown("a call with the same idempotency key is still running")
    assert isinstance(report(), Accepted)


@pytest.mark.parametrize(("kind", "after_the_new_key"), [("error_before", Accepted), ("error_after", AlreadyThere)])
def test_a_stored_500_is_told_from_a_new_one_and_a_new_key_gets_past_it(
    standin: StripeStandIn, report: Report, kind: str, after_the_new_key: type
) -> None:
    standin.inject(kind)
    first, second = report(), report()

    assert isinstance(first, Failed)
    assert isinstance(second, Failed)
    assert (first.status, first.replayed) == (500, False)
    assert (second.status, second.replayed) == (500, True)
    assert isinstance(report(idempotency_key="u-1.p-1:r2"), after_the_new_key)
    assert len(standin.meter_events()) == 1


@pytest.mark.parametrize("wait", [None, 7])
def test_a_rate_limit_says_how_long_to_wait_if_it_knows(
    standin: StripeStandIn, report: Report, wait: int | None
) -> None:
    standin.inject("rate_limit", retry_after=wait)

    outcome = report()

    assert isinstance(outcome, RateLimited)
    assert outcome.retry_after_seconds == wait
    assert isinstance(report(), Accepted)


def test_a_refusal_says_why(report: Report) -> None:
    no_meter = report(event_name="ai_images")
    too_old = report(timestamp=LAST_SECOND - 86400 * 40, idempotency_key="another")
    too_long = report(identifier="x" * 101, idempotency_key="a third")

    assert isinstance(no_meter, Refused)
    assert (no_meter.status, no_meter.code, no_meter.error_type) == (400, None, "invalid_request_error")
    assert no_meter.message == 'No active meter found for event name "ai_images".'
    assert no_meter.request_id is not None
    assert isinstance(too_old, Refused)
    assert too_old.code == "timestamp_too_far_in_past"
    assert isinstance(too_long, Refused)
    assert too_long.status == 400


def test_a_stored_refusal_says_so_and_a_new_key_gets_past_it(
    standin: StripeStandIn, report: Report, customer: str
) -> None:
    first = report(event_name="ai_images")
    standin.add_meter("ai_images")
    second = report(event_name="ai_images")

    assert isinstance(first, Refused)
    assert isinstance(second, Refused)
    assert (first.replayed, second.replayed) == (False, True)
    assert isinstance(report(event_name="ai_images", idempotency_key="u-1.p-1:r2"), Accepted)


def test_the_same_key_for_another_body_is_a_refusal_to_look_at(standin: StripeStandIn, report: Report) -> None:
    report()

    outcome = report(timestamp=LAST_SECOND - 1)

    assert isinstance(outcome, Refused)
    assert (outcome.status, outcome.error_type) == (400, "idempotency_error")
    assert len(standin.meter_events()) == 1


def test_a_wrong_key_is_a_refusal_about_the_key(url: str, customer: str) -> None:
    outcome = report_with(StripePayments("sk_test_wrong_and_made_up", api_base=url), customer)

    assert isinstance(outcome, Refused)
    assert (outcome.status, outcome.about_the_key) == (401, True)
    assert "wrong_and" not in outcome.message


def test_the_active_meter_of_an_event_name_is_found_among_many(
    standin: StripeStandIn, payments: StripePayments, meter: str
) -> None:
    for number in range(120):
        standin.add_meter(f"other_{number}")

    assert payments.meter_id_for("ai_tokens") == meter
    assert payments.meter_id_for("ai_images") is None
    assert len([call for call in standin.calls() if call["params"].get("status") != "active"]) == 0


def test_an_inactive_meter_is_not_found(standin: StripeStandIn, payments: StripePayments, meter: str) -> None:
    payments._stripe().v1.billing.meters.deactivate(meter)

    assert payments.meter_id_for("ai_tokens") is None


def test_what_was_counted_in_a_half_open_span_is_read_back(
    report: Report, payments: StripePayments, meter: str, customer: str
) -> None:
    for timestamp, value in [(LAST_SECOND, "100"), (LAST_SECOND + 1, "1000"), (int(OCTOBER.timestamp()), "10")]:
        key = str(timestamp)
        report(
            timestamp=timestamp,
            payload={"stripe_customer_id": customer, "value": value},
            identifier=key,
            idempotency_key=key,
        )

    total = payments.metered_total(meter_id=meter, customer=customer, start=OCTOBER, end=NOVEMBER)

    assert total == Decimal(110)
    assert isinstance(total, Decimal)
    assert payments.metered_total(meter_id=meter, customer=customer, start=NOVEMBER, end=NOVEMBER + HOUR) == 1000


HOUR = timedelta(hours=1)


def test_nothing_counted_is_zero(payments: StripePayments, meter: str, customer: str) -> None:
    assert payments.metered_total(meter_id=meter, customer=customer, start=OCTOBER, end=NOVEMBER) == Decimal(0)


@pytest.mark.parametrize(
    ("start", "end", "asked"),
    [
        # the hour 10:00 to 11:00 is asked for as it is; a second over at either side takes in that whole minute
        (timedelta(0), HOUR, (0, 3600)),
        (timedelta(seconds=1), HOUR, (0, 3600)),
        (timedelta(seconds=59), HOUR + timedelta(seconds=1), (0, 3660)),
        (timedelta(seconds=60), HOUR + timedelta(microseconds=1), (60, 3660)),
    ],
)
def test_bounds_are_rounded_outwards_to_whole_minutes(
    standin: StripeStandIn,
    payments: StripePayments,
    meter: str,
    customer: str,
    start: timedelta,
    end: timedelta,
    asked: tuple[int, int],
) -> None:
    ten = datetime(2026, 10, 5, 10, tzinfo=UTC)

    payments.metered_total(meter_id=meter, customer=customer, start=ten + start, end=ten + end)

    params, base = standin.calls()[-1]["params"], int(ten.timestamp())
    assert (params["start_time"] - base, params["end_time"] - base) == asked


def test_a_question_that_is_refused_raises_for_good(payments: StripePayments, meter: str) -> None:
    with pytest.raises(StripeRefused) as error:
        payments.metered_total(meter_id=meter, customer="cus_nobody", start=OCTOBER, end=NOVEMBER)

    assert (error.value.code, error.value.transient) == ("stripe_refused", False)
    assert (error.value.outcome.status, error.value.outcome.code) == (400, "resource_missing")
    assert str(error.value) == "Stripe refused: No such customer: 'cus_nobody'"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("drop_before", "Stripe did not answer: ConnectionError"),
        ("error_before", "Stripe did not answer: it failed with HTTP 500"),
        ("rate_limit", "Stripe did not answer: too many calls at the moment"),
    ],
)
def test_a_question_that_goes_unanswered_raises_for_now(
    standin: StripeStandIn, payments: StripePayments, kind: str, words: str
) -> None:
    standin.inject(kind)

    with pytest.raises(StripeDidNotAnswer) as error:
        payments.meter_id_for("ai_tokens")

    assert (error.value.code, error.value.transient) == ("stripe_did_not_answer", True)
    assert str(error.value) == words


@pytest.mark.parametrize(
    ("key", "livemode"),
    [("sk_test_a", False), ("rk_test_a", False), ("sk_live_made_up", True), ("rk_live_made_up", True), ("other", None)],
)
def test_an_account_that_answers_is_ok(
    clock: FrozenClock, behind: Callable[[StripeStandIn], str], key: str, livemode: bool | None
) -> None:
    url = behind(StripeStandIn(clock, api_key=key))

    assert StripePayments(key, api_base=url).account_ok() == AccountAnswers(livemode)


def test_asking_whether_the_account_is_ok_costs_one_small_read(
    standin: StripeStandIn, payments: StripePayments
) -> None:
    payments.account_ok()

    (call,) = standin.calls()
    assert (call["method"], call["path"], call["params"]) == ("GET", "/v1/billing/meters", {"limit": 1})


def test_an_account_that_is_not_ok_says_why(
    clock: FrozenClock, behind: Callable[[StripeStandIn], str], standin: StripeStandIn
) -> None:
    standin = StripeStandIn(clock, restricted_keys={"rk_test_reporter": ("POST /v1/billing/meter_events",)})
    url = behind(standin)

    unknown = StripePayments("sk_test_wrong_and_made_up", api_base=url).account_ok()
    restricted = StripePayments("rk_test_reporter", api_base=url).account_ok()
    standin.inject("drop_before")
    away = StripePayments(standin.api_key, api_base=url).account_ok()

    assert isinstance(unknown, Refused)
    assert unknown.status == 401
    assert isinstance(restricted, Refused)
    assert restricted.status == 403
    assert away == OutcomeUnknown("ConnectionError")


def test_neither_key_nor_payload_is_logged_or_shown(
    standin: StripeStandIn, report: Report, payments: StripePayments, customer: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    report(payload={"stripe_customer_id": customer, "value": "7", "model": "canary-model"})
    report(payload={"stripe_customer_id": customer, "value": "x", "model": "canary-model"}, idempotency_key="other")

    assert "Stripe API response" in caplog.text  # the SDK does log, just not this
    for secret in (standin.api_key, "canary-model", customer):
        assert secret not in caplog.text
    assert standin.api_key not in repr(payments)
    assert standin.api_key not in str(vars(payments)["_api_base"])


def test_each_process_builds_a_client_of_its_own(payments: StripePayments, monkeypatch: pytest.MonkeyPatch) -> None:
    before = payments._stripe()
    assert payments._stripe() is before

    monkeypatch.setattr(os, "getpid", lambda: -1)

    assert payments._stripe() is not before


class Gateway(HTTPServer):
    """Something between here and Stripe that answers in Stripe's place."""

    status: int
    body: bytes
    retry_after: str | None = None


class _Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        if self.server.retry_after is not None:
            self.send_header("Retry-After", self.server.retry_after)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the standard library's
        pass


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    server = Gateway(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b"<html>welcome</html>", OutcomeUnknown("HTTP 200 with a body that is not Stripe's")),
        (200, b"", OutcomeUnknown("HTTP 200 with a body that is not Stripe's")),
        (200, b"\xff\xfe", OutcomeUnknown("UnicodeDecodeError while reading the answer")),
        (200, b"{}", OutcomeUnknown("the answer is not about this event")),
        (200, b"[]", OutcomeUnknown("the answer is not about this event")),
        (200, b"null", OutcomeUnknown("the answer is not about this event")),
        (
            200,
            b'{"object": "billing.meter_event", "identifier": "u-2"}',
            OutcomeUnknown("the answer is not about this event"),
        ),
        (200, b'{"object": "billing.meter_event", "identifier": "u-1.p-1"}', Accepted()),
        (204, b"", OutcomeUnknown("HTTP 204 with a body that is not Stripe's")),
        (302, b"{}", OutcomeUnknown("HTTP 302 with a body that is not Stripe's")),
        (302, b'{"error": {}}', OutcomeUnknown("HTTP 302 with a body that is not Stripe's")),
        (400, b"{}", OutcomeUnknown("HTTP 400 with a body that is not Stripe's")),
        (400, b'{"error": {}}', Refused(400, "no reason given")),
        (404, b"<html>not found</html>", OutcomeUnknown("HTTP 404 with a body that is not Stripe's")),
        (429, b"<html>slow down</html>", RateLimited()),
        (400, b'{"error": {"code": "rate_limit", "message": "as it was said before 429"}}', RateLimited()),
        (502, b"<html>bad gateway</html>", Failed(502)),
        (502, b"{}", Failed(502)),
        (502, b'{"error": "Bad gateway"}', OutcomeUnknown("AttributeError while reading the answer")),
        (502, b'{"error": null}', OutcomeUnknown("AttributeError while reading the answer")),
        (503, b'{"error": {}}', Failed(503)),
        (
            400,
            b'{"error": {"message": "AN EVENT ALREADY EXISTS WITH IDENTIFIER u-1.p-1."}}',
            AlreadyThere(),
        ),
        (
            404,
            b'{"error": {"message": "An event already exists with identifier u-1.p-1."}}',
            Refused(404, "An event already exists with identifier u-1.p-1."),
        ),
    ],
)
def test_whatever_answers_in_stripes_place_is_an_outcome_and_never_an_exception(
    gateway: Gateway, status: int, body: bytes, outcome: MeterEventOutcome
) -> None:
    gateway.status, gateway.body, gateway.retry_after = status, body, None
    payments = StripePayments("sk_test_made_up", api_base=f"http://127.0.0.1:{gateway.server_port}", timeout_seconds=1)

    assert report_with(payments, "cus_1") == outcome


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None), ("", None)],
)
def test_only_a_wait_in_seconds_is_understood(gateway: Gateway, retry_after: str, seconds: float | None) -> None:
    gateway.status, gateway.body, gateway.retry_after = (
        429,
        b'{"error": {"type": "invalid_request_error"}}',
        retry_after,
    )
    payments = StripePayments("sk_test_made_up", api_base=f"http://127.0.0.1:{gateway.server_port}", timeout_seconds=1)

    assert report_with(payments, "cus_1") == RateLimited(seconds)


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b'{"object": "list"}', b'{"object": "list", "data": [{}]}', b"<html></html>"]
)
def test_questions_answered_in_stripes_place_are_not_answered(gateway: Gateway, body: bytes) -> None:
    gateway.status, gateway.body, gateway.retry_after = 200, body, None
    payments = StripePayments("sk_test_made_up", api_base=f"http://127.0.0.1:{gateway.server_port}", timeout_seconds=1)

    with pytest.raises(StripeDidNotAnswer):
        payments.meter_id_for("ai_tokens")
    with pytest.raises(StripeDidNotAnswer):
        payments.metered_total(meter_id="mtr_1", customer="cus_1", start=OCTOBER, end=NOVEMBER)
    if b"list" not in body:
        assert isinstance(payments.account_ok(), OutcomeUnknown)

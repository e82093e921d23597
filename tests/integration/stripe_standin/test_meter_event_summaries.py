from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe

from tollkeeper.testing import FrozenClock, Rules, StripeStandIn

from .conftest import sdk_client

Refusal = Callable[..., stripe.InvalidRequestError]

OCTOBER = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp())
NOVEMBER = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
HOUR, DAY = 3600, 86400


@pytest.fixture
def books(standin: StripeStandIn, client: stripe.StripeClient) -> Books:
    return Books(standin, client)


class Books:
    """One meter and one customer, and what can be asked about them."""

    def __init__(self, standin: StripeStandIn, client: stripe.StripeClient, formula: str = "sum") -> None:
        self.client = client
        self.event_name = f"ai_tokens_{formula}"
        self.meter = standin.add_meter(self.event_name, formula)
        self.customer = standin.add_customer()

    def use(self, timestamp: int, value: str = "1", customer: str | None = None) -> None:
        payload = {"stripe_customer_id": customer or self.customer, "value": value}
        self.client.v1.billing.meter_events.create(
            {"event_name": self.event_name, "timestamp": timestamp, "payload": payload}
        )

    def summaries(self, start: int, end: int, **more: Any) -> stripe.ListObject[stripe.billing.MeterEventSummary]:
        asked: Any = {"customer": self.customer, "start_time": start, "end_time": end} | more
        return self.client.v1.billing.meters.event_summaries.list(self.meter, asked)

    def total(self, start: int, end: int, **more: Any) -> float:
        return sum(one.aggregated_value for one in self.summaries(start, end, **more).auto_paging_iter())


def test_a_span_holds_its_start_and_not_its_end(books: Books) -> None:
    for timestamp, value in [(OCTOBER - 1, "1"), (OCTOBER, "10"), (NOVEMBER - 1, "100"), (NOVEMBER, "1000")]:
        books.use(timestamp, value)

    assert books.total(OCTOBER, NOVEMBER) == 110  # 10 + 100: the first second is in, the last bound is out
    assert books.total(NOVEMBER, NOVEMBER + 60) == 1000


def test_one_summary_answers_for_the_whole_span(books: Books) -> None:
    books.use(OCTOBER + 5, "3")
    books.use(NOVEMBER - 5, "4")

    (summary,) = books.summaries(OCTOBER, NOVEMBER).data

    assert summary.object == "billing.meter_event_summary"
    assert (summary.aggregated_value, summary.meter) == (7.0, books.meter)
    assert (summary.start_time, summary.end_time, summary.livemode) == (OCTOBER, NOVEMBER, False)


def test_a_span_without_events_has_no_summary(books: Books) -> None:
    assert books.summaries(OCTOBER, NOVEMBER).data == []


def test_only_the_customer_asked_for_is_summed(standin: StripeStandIn, books: Books) -> None:
    books.use(OCTOBER, "5")
    books.use(OCTOBER, "50", customer=standin.add_customer())

    assert books.total(OCTOBER, NOVEMBER) == 5


def test_only_the_meter_asked_for_is_summed(standin: StripeStandIn, client: stripe.StripeClient, books: Books) -> None:
    other = Books(standin, client, "count")
    other.use(OCTOBER, "50", customer=books.customer)

    assert books.total(OCTOBER, NOVEMBER) == 0


def test_rejected_and_cancelled_events_do_not_count(client: stripe.StripeClient, books: Books) -> None:
    books.use(OCTOBER, "9", customer="cus_nobody")
    client.v1.billing.meter_events.create(
        {
            "event_name": books.event_name,
            "identifier": "wrong",
            "timestamp": OCTOBER,
            "payload": {"stripe_customer_id": books.customer, "value": "7"},
        }
    )
    assert books.total(OCTOBER, NOVEMBER) == 7

    client.v1.billing.meter_event_adjustments.create(
        {"type": "cancel", "event_name": books.event_name, "cancel": {"identifier": "wrong"}}
    )

    assert books.total(OCTOBER, NOVEMBER) == 0


@pytest.mark.parametrize(
    ("formula", "aggregated"),
    [
        ("sum", 2.5),  # 4 - 2 + 0.5
        ("count", 3),
        ("last", -2),  # the latest timestamp, not the latest to arrive
    ],
)
def test_a_meter_adds_up_by_its_formula(
    standin: StripeStandIn, client: stripe.StripeClient, formula: str, aggregated: float
) -> None:
    books = Books(standin, client, formula)
    for timestamp, value in [(OCTOBER, "4"), (OCTOBER + 9, "-2"), (OCTOBER + 5, "0.5")]:
        books.use(timestamp, value)

    assert books.total(OCTOBER, NOVEMBER) == aggregated


def test_of_two_events_in_the_same_second_the_later_arrival_is_the_last(
    standin: StripeStandIn, client: stripe.StripeClient
) -> None:
    books = Books(standin, client, "last")
    books.use(OCTOBER, "1")
    books.use(OCTOBER, "2")

    assert books.total(OCTOBER, NOVEMBER) == 2


@pytest.mark.parametrize(
    ("start", "end", "window", "param"),
    [
        (OCTOBER + 1, NOVEMBER, None, "start_time"),
        (OCTOBER, NOVEMBER - 1, None, "end_time"),
        (OCTOBER + 60, NOVEMBER, "hour", "start_time"),
        (OCTOBER, NOVEMBER + 1800, "hour", "end_time"),
        (OCTOBER + HOUR, NOVEMBER, "day", "start_time"),
        (OCTOBER, NOVEMBER + HOUR, "day", "end_time"),
        (OCTOBER, OCTOBER, None, "end_time"),
        (NOVEMBER, OCTOBER, None, "end_time"),
    ],
)
def test_bounds_off_their_grid_or_the_wrong_way_round_are_refused(
    books: Books, refusal: Refusal, start: int, end: int, window: str | None, param: str
) -> None:
    more = {"value_grouping_window": window} if window else {}

    error = refusal(lambda: books.summaries(start, end, **more))

    assert (error.http_status, error.param) == (400, param)


@pytest.mark.parametrize(("window", "length"), [("hour", HOUR), ("day", DAY)])
def test_a_grouping_window_splits_the_span_and_keeps_the_total(books: Books, window: str, length: int) -> None:
    for timestamp, value in [(OCTOBER, "1"), (OCTOBER + length - 1, "10"), (OCTOBER + length, "100")]:
        books.use(timestamp, value)

    summaries = books.summaries(OCTOBER, OCTOBER + 3 * DAY, value_grouping_window=window).data

    assert [(one.start_time, one.end_time, one.aggregated_value) for one in summaries] == [
        (OCTOBER + length, OCTOBER + 2 * length, 100),
        (OCTOBER, OCTOBER + length, 11),
    ]


def test_a_span_of_ages_in_small_windows_is_answered_at_once(books: Books) -> None:
    books.use(OCTOBER, "1")

    (summary,) = books.summaries(0, 10**9 * HOUR, value_grouping_window="hour").data

    assert (summary.start_time, summary.end_time) == (OCTOBER, OCTOBER + HOUR)


def test_windows_come_in_pages(books: Books) -> None:
    for day in range(5):
        books.use(OCTOBER + day * DAY, "1")
    windows: Any = {"value_grouping_window": "day", "limit": 2}

    first = books.summaries(OCTOBER, NOVEMBER, **windows)

    assert (len(first.data), first.has_more) == (2, True)
    assert books.total(OCTOBER, NOVEMBER, **windows) == 5


def test_an_unknown_meter_is_a_404_and_an_unknown_customer_a_400(books: Books, refusal: Refusal) -> None:
    stranger = refusal(lambda: books.summaries(OCTOBER, NOVEMBER, customer="cus_nobody"))
    books.meter = "mtr_nothing"
    nothing = refusal(lambda: books.summaries(OCTOBER, NOVEMBER))

    assert (stranger.http_status, stranger.code, stranger.param) == (400, "resource_missing", "customer")
    assert (nothing.http_status, nothing.code, nothing.param) == (404, "resource_missing", "id")


def test_usage_stays_readable_after_the_meter_and_the_customer_are_gone(
    client: stripe.StripeClient, books: Books
) -> None:
    books.use(OCTOBER, "6")
    client.v1.billing.meters.deactivate(books.meter)
    client.v1.customers.delete(books.customer)

    assert books.total(OCTOBER, NOVEMBER) == 6


def test_sums_can_lag_behind_the_events(clock: FrozenClock, behind: Callable[[StripeStandIn], str]) -> None:
    standin = StripeStandIn(clock, rules=Rules(summaries_lag=timedelta(minutes=10)))
    books = Books(standin, sdk_client(standin.api_key, behind(standin)))
    books.use(OCTOBER, "6")

    assert books.total(OCTOBER, NOVEMBER) == 0
    clock.advance(timedelta(minutes=9, seconds=59))
    assert books.total(OCTOBER, NOVEMBER) == 0
    clock.advance(timedelta(seconds=1))
    assert books.total(OCTOBER, NOVEMBER) == 6

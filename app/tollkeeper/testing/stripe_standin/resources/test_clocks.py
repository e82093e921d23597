"""Test clocks: customers for whom time stands still until it is moved on, and then everything due happens in order."""

from __future__ import annotations

from stripe.params.test_helpers import (
    TestClockAdvanceParams,
    TestClockCreateParams,
    TestClockDeleteParams,
    TestClockListParams,
    TestClockRetrieveParams,
)

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.events import emit
from tollkeeper.testing.stripe_standin.listing import PAGING, newest_first, page
from tollkeeper.testing.stripe_standin.problem import bad_request
from tollkeeper.testing.stripe_standin.renewing import LIVE, run_until
from tollkeeper.testing.stripe_standin.routing import Call, route

CLOCK = "test_helpers.test_clock"
_DAY = 86_400
_WITHOUT_SUBSCRIPTION = 2 * 366 * _DAY


def _create(account: Account, call: Call) -> Body:
    return account.keep(
        {
            "id": account.ids.new("clock"),
            "object": CLOCK,
            "created": account.now,
            "deletes_after": account.now + 30 * _DAY,
            "frozen_time": call.params["frozen_time"],
            "livemode": False,
            "name": call.params.get("name"),
            "status": "ready",
            "status_details": {},
        }
    )


def _retrieve(account: Account, call: Call) -> Body:
    return account.get(CLOCK, call.named["test_clock"])


def _advance(account: Account, call: Call) -> Body:
    """Everything that falls due until then has happened once this answers; the real one takes its time over it."""
    clock = _retrieve(account, call)
    target = call.params["frozen_time"]
    if target <= clock["frozen_time"]:
        raise bad_request("frozen_time", "The new time must be after the test clock's current frozen time.")
    customers = {one["id"] for one in account.shelf("customer").values() if one.get("test_clock") == clock["id"]}
    if target > _furthest(account, clock, customers):
        raise bad_request("frozen_time", "The test clock can be advanced by at most two intervals at a time.")
    run_until(account, customers, target)
    clock["frozen_time"] = target
    emit(account, "test_helpers.test_clock.ready", clock)
    return clock


def _furthest(account: Account, clock: Body, customers: set[str]) -> int:
    """Two intervals of the shortest live subscription ahead, or two years where there is none."""
    lengths = [
        item["current_period_end"] - item["current_period_start"]
        for subscription in account.shelf("subscription").values()
        if subscription["customer"] in customers and subscription["status"] in LIVE
        for item in subscription["items"]["data"]
    ]
    # The first period may be a stub; its price still recurs once a month at the least.
    shortest = max(min(lengths), 31 * _DAY) if lengths else _WITHOUT_SUBSCRIPTION // 2
    return int(clock["frozen_time"]) + 2 * shortest


def _list(account: Account, call: Call) -> Body:
    return page(call, newest_first(account.shelf(CLOCK), call))


def _delete(account: Account, call: Call) -> Body:
    """The clock goes with its customers and all that is theirs."""
    clock = _retrieve(account, call)
    gone = {one["id"] for one in account.shelf("customer").values() if one.get("test_clock") == clock["id"]}
    for kind in ("subscription", "invoice"):
        shelf = account.shelf(kind)
        for identity in [one["id"] for one in shelf.values() if one.get("customer") in gone]:
            del shelf[identity]
    for customer in gone:
        account.keep({"id": customer, "object": "customer", "deleted": True})
    del account.shelf(CLOCK)[clock["id"]]
    return {"id": clock["id"], "object": CLOCK, "deleted": True}


ROUTES = (
    route("POST", "/v1/test_helpers/test_clocks", _create, TestClockCreateParams, "frozen_time name"),
    route("GET", "/v1/test_helpers/test_clocks", _list, TestClockListParams, PAGING),
    route("GET", "/v1/test_helpers/test_clocks/{test_clock}", _retrieve, TestClockRetrieveParams),
    route("POST", "/v1/test_helpers/test_clocks/{test_clock}/advance", _advance, TestClockAdvanceParams, "frozen_time"),
    route("DELETE", "/v1/test_helpers/test_clocks/{test_clock}", _delete, TestClockDeleteParams),
)

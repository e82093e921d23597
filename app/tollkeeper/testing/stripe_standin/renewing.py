"""What happens to subscriptions as time goes by: a draft at each period's end, an hour's grace, the final invoice, the charge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.charging import change_status, charge
from tollkeeper.testing.stripe_standin.cycles import period_end
from tollkeeper.testing.stripe_standin.events import emit
from tollkeeper.testing.stripe_standin.rating import rate
from tollkeeper.testing.stripe_standin.resources import invoices
from tollkeeper.testing.stripe_standin.resources.invoice_items import take_pending
from tollkeeper.testing.stripe_standin.resources.invoice_lines import add_line
from tollkeeper.testing.stripe_standin.resources.meter_events import MeterEventLog

LIVE = ("active", "past_due", "trialing")
GRACE = 3_600
"""Between the draft of a renewal and its finalisation: usage of the closed period still comes on it."""


def run_until(account: Account, customers: set[str], until: int) -> None:
    """Lets everything happen to these customers' subscriptions that is due at or before `until`, in order."""
    while due := _next_due(account, customers, until):
        at, deed = due
        with account.at(at):
            deed()


def _next_due(account: Account, customers: set[str], until: int) -> tuple[int, Callable[[], None]] | None:
    due = [one for one in (*_renewals(account, customers), *_drafts(account, customers)) if one[0] <= until]
    return min(due, key=lambda one: one[0], default=None)


def _renewals(account: Account, customers: set[str]) -> Iterator[tuple[int, Callable[[], None]]]:
    for subscription in account.shelf("subscription").values():
        if subscription["customer"] in customers and subscription["status"] in LIVE:
            yield current_period(subscription)[1], lambda one=subscription: _renew(account, one)  # type: ignore[misc]


def _drafts(account: Account, customers: set[str]) -> Iterator[tuple[int, Callable[[], None]]]:
    for invoice in account.shelf("invoice").values():
        at = invoice["automatically_finalizes_at"]
        if invoice["customer"] in customers and invoice["status"] == "draft" and at is not None:
            yield at, lambda one=invoice: finalize_and_charge(account, one)  # type: ignore[misc]


def current_period(subscription: Body) -> tuple[int, int]:
    """Start and end; all items of a subscription here recur alike."""
    item = subscription["items"]["data"][0]
    return item["current_period_start"], item["current_period_end"]


def _renew(account: Account, subscription: Body) -> None:
    """The period is over: its draft, and the next one or the end."""
    period = current_period(subscription)
    ends = subscription["cancel_at_period_end"]
    draft = draft_invoice(account, subscription, period, "subscription_cycle")
    if ends:
        change_status(account, subscription, "canceled")
        return
    following = (period[1], _end_of(subscription, period[1]))
    add_licensed_lines(account, draft, subscription, following)
    roll(subscription, following)
    emit(account, "customer.subscription.updated", subscription)


def _end_of(subscription: Body, start: int) -> int:
    recurring = subscription["items"]["data"][0]["price"]["recurring"]
    config = subscription["billing_cycle_anchor_config"] or {}
    return period_end(start, subscription["billing_cycle_anchor"], recurring, config.get("day_of_month"))


def roll(subscription: Body, period: tuple[int, int]) -> None:
    """Puts every item into this period."""
    for item in subscription["items"]["data"]:
        item["current_period_start"], item["current_period_end"] = period


def draft_invoice(account: Account, subscription: Body, period: tuple[int, int], reason: str) -> Body:
    """The draft for a period of a subscription. Its usage is counted when it is finalized, not before."""
    invoice = invoices.new_invoice(account, subscription["customer"], subscription["currency"], period)
    invoices.attribute_to_subscription(invoice, subscription["id"])
    invoice["billing_reason"] = reason
    invoice["parent"]["subscription_details"]["metadata"] = dict(subscription["metadata"])
    invoice["auto_advance"] = True
    invoice["automatically_finalizes_at"] = account.now + GRACE
    invoice["test_clock"] = subscription["test_clock"]
    account.keep(invoice)
    subscription["latest_invoice"] = invoice["id"]
    take_pending(account, invoice)
    emit(account, "invoice.created", invoice)
    return invoice


def add_licensed_lines(account: Account, invoice: Body, subscription: Body, period: tuple[int, int]) -> None:
    """What is paid for the coming period in advance."""
    for item in subscription["items"]["data"]:
        if item["price"]["recurring"]["usage_type"] == "licensed":
            _add_lines(account, invoice, subscription, item, Decimal(item["quantity"]), period)


def finalize_and_charge(account: Account, invoice: Body) -> None:
    """Counts the usage of the invoice's period, finalizes it and charges the card."""
    subscription = account.shelf("subscription")[invoice["parent"]["subscription_details"]["subscription"]]
    period = invoice["period_start"], invoice["period_end"]
    for item in subscription["items"]["data"]:
        if item["price"]["recurring"]["usage_type"] == "metered":
            quantity = _used(account, invoice["customer"], item["price"]["recurring"]["meter"], period)
            _add_lines(account, invoice, subscription, item, quantity, period)
    invoices.finalize(account, invoice)
    if invoice["status"] == "open":
        charge(account, invoice)


def _used(account: Account, customer: str, meter: str, period: tuple[int, int]) -> Decimal:
    """The sum over the half-open period of what was counted until now."""
    events = account.part(MeterEventLog).events
    return sum(
        (
            event.value
            for event in events
            if event.meter == meter
            and event.customer == customer
            and event.status == "counted"
            and period[0] <= event.timestamp < period[1]
        ),
        Decimal(0),
    )


def _add_lines(
    account: Account, invoice: Body, subscription: Body, item: Body, quantity: Decimal, period: tuple[int, int]
) -> None:
    price = account.shelf("price")[item["price"]["id"]]
    for rated in rate(price, quantity):
        line = add_line(account, invoice, rated.amount, price["nickname"], period)
        line.update(
            quantity=int(rated.quantity),
            quantity_decimal=format(rated.quantity, "f"),
            subscription=subscription["id"],
            parent=_line_parent(subscription, item),
            pricing={
                "type": "price_details",
                "price_details": {"price": price["id"], "product": price["product"]},
                "unit_amount_decimal": format(rated.unit_amount, "f"),
            },
        )


def _line_parent(subscription: Body, item: Body) -> Body:
    return {
        "type": "subscription_item_details",
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": None,
            "proration": False,
            "proration_details": {"credited_items": None},
            "subscription": subscription["id"],
            "subscription_item": item["id"],
        },
    }

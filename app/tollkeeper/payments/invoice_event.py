"""An invoice of Stripe's as an event tells of it: what is read of it, where it has the right shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

OUR_INVOICE = "tollkeeper_invoice_id"
FIRST_FEE = "tollkeeper_first_fee"
_MOMENTS = {"void": "voided_at", "uncollectible": "marked_uncollectible_at"}


class InvoiceEvent:
    """Stripe's invoice in an event: what is read of it, where it has the right shape."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        self._value = _object(_object(event.get("data")).get("object"))

    @property
    def id(self) -> str | None:
        return _text(self._value.get("id"))

    @property
    def customer(self) -> str | None:
        customer = self._value.get("customer")
        return _text(customer.get("id") if isinstance(customer, dict) else customer)

    @property
    def our_id(self) -> UUID | None:
        try:
            return UUID(_text(_object(self._value.get("metadata")).get(OUR_INVOICE)) or "")
        except ValueError:
            return None

    @property
    def period_end(self) -> datetime | None:
        return _instant(self._value.get("period_end"))

    @property
    def is_of_sign_up(self) -> bool:
        """Whether it is what Stripe charges as a subscription begins: fees of the time ahead, and no usage."""
        return self._value.get("billing_reason") == "subscription_create"

    @property
    def attempts(self) -> int:
        """How often payment was tried, this time included."""
        count = self._value.get("attempt_count")
        return count if type(count) is int and 0 < count < 1000 else 1

    @property
    def next_attempt_at(self) -> datetime | None:
        return _instant(self._value.get("next_payment_attempt"))

    @property
    def payment_url(self) -> str | None:
        """The page where it can be paid."""
        url = self._value.get("hosted_invoice_url")
        return url if isinstance(url, str) else None

    def moved_at(self, status: str) -> datetime | None:
        """When it became what the event says."""
        name = _MOMENTS.get(status, f"{status}_at")
        return _instant(_object(self._value.get("status_transitions")).get(name))

    @property
    def currency(self) -> str | None:
        currency = self._value.get("currency")
        return currency.lower() if isinstance(currency, str) else None

    @property
    def total(self) -> int | None:
        """What it is over, before tax."""
        names = ("total_excluding_tax", "total", "amount_due", "amount_paid")
        return next((self._value[name] for name in names if type(self._value.get(name)) is int), None)

    @property
    def usage_total(self) -> int | None:
        """What a subscription's renewal is over without fees: those of the time ahead, and the first one.

        Stripe takes a fee before its period and we take it after, so on one invoice the two are not of the same period.
        None where it is no renewal, or where the event does not carry all its lines.
        """
        listed = _object(self._value.get("lines"))
        lines, end = listed.get("data"), self._value.get("period_end")
        if not isinstance(lines, list) or listed.get("has_more") or type(end) is not int:
            return None
        known = [_object(line) for line in lines]
        if not any(_is_of_subscription(line) for line in known):
            return None
        amounts = [line.get("amount") for line in known if not _is_fee(line, end)]
        whole = [amount for amount in amounts if type(amount) is int]
        return sum(whole) if len(whole) == len(amounts) else None

    @property
    def shortfall(self) -> tuple[int, int] | None:
        """What was paid of what was due, where that is less."""
        due, paid = self._value.get("amount_due"), self._value.get("amount_paid")
        return (paid, due) if type(due) is int and type(paid) is int and paid < due else None

    def differences(self, total: int, fees: int, currency: str, status: str) -> Iterator[str]:
        """What of its money is not as on our invoice over `total`, of which `fees`: amount, currency, what was paid of it."""
        theirs, ours, what = self.total, total, ""
        if self.usage_total is not None:
            theirs, ours, what = self.usage_total, total - fees, " of usage"
        stated = self.currency or currency
        if theirs is not None and (theirs, stated) != (ours, currency):
            yield f"Stripe's {self.id} is over {theirs} {stated}{what}, ours over {ours} {currency}{what}"
        if status == "paid" and self.shortfall is not None:
            paid, due = self.shortfall
            yield f"Stripe's {self.id} was paid {paid} of {due} {stated}"


def _is_of_subscription(line: Mapping[str, Any]) -> bool:
    return _object(line.get("parent")).get("type") == "subscription_item_details"


def _is_fee(line: Mapping[str, Any], period_end: int) -> bool:
    if FIRST_FEE in _object(line.get("metadata")):
        return True
    until = _object(line.get("period")).get("end")
    return _is_of_subscription(line) and type(until) is int and until > period_end


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= 255 else None


def _instant(value: object) -> datetime | None:
    """Unix seconds, between the years 1970 and 9999."""
    return datetime.fromtimestamp(value, UTC) if isinstance(value, int) and 0 < value < 253_402_300_800 else None

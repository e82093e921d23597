"""Crediting: give customers prepaid money or tokens, and pay invoices from it.

A purse holds one customer's grants while periods are decided on. It says what an invoice draws and keeps the entries that
the close adds to the ledger; a preview throws it away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, TypeAlias
from uuid import UUID, uuid4

from tollkeeper.domain.credit import TOKENS, Draw, Grant, Recurring, draw_down
from tollkeeper.domain.currency import minor_step
from tollkeeper.domain.customer import validate_user_id
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.money import BIGINT_MAX
from tollkeeper.domain.period import Period, period_of, periods_between, utc
from tollkeeper.domain.pricing import Tariff, rate
from tollkeeper.domain.usage import Totals
from tollkeeper.storage.audit import Deed, record, record_all
from tollkeeper.storage.credits import Entry, StoredGrant, expire_grants, grants_of, insert_grant
from tollkeeper.storage.customers import load_customer
from tollkeeper.storage.database import Database
from tollkeeper.storage.plans import load_plan

MAX_PRIORITY = 1_000
STILL_LATE = timedelta(days=40)
"""So long after a grant has expired, usage of the time before it may still come and be paid with it."""
_EXPIRED_AT_ONCE = 500

Used: TypeAlias = tuple[Tariff, Totals]
"""What was used in a period, or in a plan's part of it, and what it is priced by."""


def grant(
    database: Database,
    user_id: str,
    *,
    unit: str,
    amount: int,
    now: datetime,
    expires_at: datetime | None = None,
    priority: int = 50,
    every: Literal["month"] | None = None,
    carries_over: bool = False,
    at_most: int | None = None,
    new_id: Callable[[], UUID] = uuid4,
) -> StoredGrant:
    """Give a customer money (minor units of their plan's currency) or tokens. Each call is another grant.

    With `every` the amount comes anew with each billing period, and what is left of it is carried over only if it says so,
    up to `at_most`. Raises `InvalidInput`, and `NotFound` for the customer.
    """
    with database.transaction() as connection:
        customer = load_customer(connection, validate_user_id(user_id), lock=True)
        plan = load_plan(connection, customer.plan_id)
        _check(unit, amount, plan.currency, now, expires_at)
        _check_recurrence(plan.interval, amount, every, carries_over=carries_over, at_most=at_most)
        if not 0 <= priority <= MAX_PRIORITY:
            raise InvalidInput("priority", f"a whole number from 0 to {MAX_PRIORITY}; the lowest is drawn on first")
        made = StoredGrant(
            id=new_id(),
            user_id=user_id,
            unit=unit,
            amount=amount,
            balance=amount,
            priority=priority,
            granted_at=now,
            expires_at=expires_at,
            every=every,
            carries_over=carries_over,
            at_most=at_most,
            renewed_for=period_of(plan.interval, now, customer.period_anchor or customer.created_at).start,
        )
        insert_grant(connection, made)
        record(connection, "credit.granted", str(made.id), now, user_id=user_id, after=_told(made))
    return made


def _told(made: StoredGrant) -> dict[str, object]:
    """What the audit trail keeps of a grant."""
    return {
        "unit": made.unit,
        "amount": made.amount,
        "priority": made.priority,
        "expires_at": made.expires_at,
        "every": made.every,
    }


def list_grants(database: Database, user_id: str) -> list[StoredGrant]:
    """A customer's grants, oldest first; `NotFound` for an unknown customer."""
    with database.transaction() as connection:
        load_customer(connection, validate_user_id(user_id))
        return grants_of(connection, [user_id])


def expire_credits(database: Database, now: datetime) -> int:
    """Take out what is left of grants that are of no use any more; how many there were.

    An invoice takes out what expired with its period. This is for customers who have none: they keep seeing credit that
    nothing can be paid with.
    """
    expired = 0
    while True:
        with database.transaction() as connection:
            taken = expire_grants(connection, now - STILL_LATE, now, _EXPIRED_AT_ONCE)
            deeds = [
                Deed("credit.expired", str(grant_id), user_id, before={"balance": balance}, after={"balance": 0})
                for grant_id, user_id, balance in taken
            ]
            record_all(connection, deeds, now)
        expired += len(taken)
        if len(taken) < _EXPIRED_AT_ONCE:
            return expired


@dataclass(frozen=True, slots=True)
class Payment:
    """What a grant pays of an invoice, in minor units; of granted tokens also how many."""

    draw: Draw
    amount: int
    unit: str


@dataclass(slots=True)
class Purse:
    """One customer's grants, and the entries that deciding on periods has added so far."""

    grants: list[StoredGrant] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def copy(self) -> Purse:
        """One that can be drawn on without this one noticing."""
        return Purse(list(self.grants), list(self.entries))

    def renew(self, whole: Period, interval: str, anchor: datetime | None) -> None:
        """Let recurring grants come for every period up to this one."""
        self.grants = [self._renewed(one, whole, interval, anchor) for one in self.grants]

    def for_tokens(self, used: Sequence[Used], period: Period) -> list[Payment]:
        """What granted tokens take off the usage charges, grant by grant, and no more tokens than it needs."""
        grants = self._grants()
        available = sum(one.left for one in grants if one.unit == TOKENS and one.counts_for(period))
        needed = list(_needed_by_each(used, available))
        payments, taken, paid = [], 0, 0
        for draw in draw_down(grants, sum(needed), TOKENS, period):
            taken += draw.amount
            saved = _saved_by_all(used, needed, taken)
            payments.append(Payment(draw, saved - paid, TOKENS))
            paid = saved
        return payments

    def for_money(self, owed: int, currency: str, period: Period) -> list[Payment]:
        """What prepaid money pays of what is owed."""
        return [Payment(draw, draw.amount, currency) for draw in draw_down(self._grants(), owed, currency, period)]

    def pay(self, payments: Sequence[Payment], invoice_id: UUID, period: Period) -> None:
        """Take the payments out of the purse, and what expired with the period."""
        for payment in payments:
            self._add(Entry(UUID(payment.draw.grant_id), "draw", -payment.draw.amount, period.start, invoice_id))
        for one in self.grants:
            if one.balance and one.expires_at is not None and one.expires_at <= period.end:
                self._add(Entry(one.id, "expiry", -one.balance, period.start))

    def _grants(self) -> list[Grant]:
        return [
            Grant(str(one.id), one.unit, one.balance, one.granted_at, one.expires_at, one.priority)
            for one in self.grants
        ]

    def _add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.grants = [
            replace(one, balance=one.balance + entry.amount) if one.id == entry.grant_id else one for one in self.grants
        ]

    def _renewed(self, one: StoredGrant, whole: Period, interval: str, anchor: datetime | None) -> StoredGrant:
        if one.every is None:
            return one
        recurring = Recurring(one.amount, one.carries_over, one.at_most)
        for start in _missed(one, whole, interval, anchor):
            kept = recurring.renewed(one.balance) - one.amount
            if kept < one.balance:
                self.entries.append(Entry(one.id, "expiry", kept - one.balance, start))
            self.entries.append(Entry(one.id, "renewal", one.amount, start))
            one = replace(one, balance=kept + one.amount, renewed_for=start)
        return one


def _missed(one: StoredGrant, whole: Period, interval: str, anchor: datetime | None) -> Iterator[datetime]:
    """Starts of the periods up to this one that the grant has not come with yet; none after it has expired."""
    for period in periods_between(interval, one.renewed_for, whole.end, anchor):
        if period.start > one.renewed_for and (one.expires_at is None or period.start < one.expires_at):
            yield period.start


def _needed_by_each(used: Sequence[Used], available: int) -> Iterator[int]:
    """How many granted tokens each part of a period takes, the oldest first."""
    for tariff, totals in used:
        needed = tokens_needed(tariff, totals, available)
        available -= needed
        yield needed


def _saved_by_all(used: Sequence[Used], needed: Sequence[int], tokens: int) -> int:
    """What usage costs less with so many granted tokens, of which each part takes what it needs."""
    saved = 0
    for (tariff, totals), most in zip(used, needed, strict=True):
        saved += _saved(tariff, totals, min(tokens, most))
        tokens -= min(tokens, most)
    return saved


def tokens_needed(tariff: Tariff, totals: Totals, available: int) -> int:
    """The fewest granted tokens that save as much as all that are available; 0 where they save nothing."""
    most = _saved(tariff, totals, available)
    if most <= 0:
        return 0
    low, high = 0, available
    while low < high:
        middle = (low + high) // 2
        if _saved(tariff, totals, middle) >= most:
            high = middle
        else:
            low = middle + 1
    return low


def _saved(tariff: Tariff, totals: Totals, tokens: int) -> int:
    """What usage costs less with so many granted tokens, discounts and bounds included."""
    if tokens == 0:
        return 0
    return rate(tariff, totals).total - rate(tariff, totals, granted_tokens=tokens).total


def _check(unit: str, amount: int, currency: str, now: datetime, expires_at: datetime | None) -> None:
    if unit not in (TOKENS, currency):
        raise InvalidInput("unit", f"tokens, or {currency} like the customer's plan")
    if not 0 < amount <= BIGINT_MAX or (unit != TOKENS and amount % minor_step(currency)):
        raise InvalidInput("amount", "more than nothing, in steps of the currency, and no more than 64 bits hold")
    if expires_at is not None and utc(expires_at, "expires") <= now:
        raise InvalidInput("expires", "an instant that is still to come")


def _check_recurrence(
    interval: str, amount: int, every: str | None, *, carries_over: bool, at_most: int | None
) -> None:
    if every is None and (carries_over or at_most is not None):
        raise InvalidInput("carry_over", "a grant that comes every month; any other stays until it expires")
    if every is not None and interval == "year":
        raise InvalidInput("every", "a plan that is billed by the month; this customer's is billed by the year")
    if at_most is not None and at_most < amount:
        raise InvalidInput("at_most", "at least the amount itself")

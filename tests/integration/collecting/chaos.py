"""Random months at a Stripe that fails in every way it can; a seed says what happens in which order.

Two customers use tokens, periods close, usage comes late or is taken back, and all the while answers get lost, failures are
stored, calls hang and end later, reporters are killed between a call and its record, two of them run at once, and nobody runs
for a day or for weeks. In the end Stripe must have asked for exactly what is owed, once.

Where Stripe prices usage itself it does so when it finalizes its invoice, an hour after the month: what it was told later it has
not billed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import stripe

from integration.closing.ledger import DECEMBER, JANUARY, NOVEMBER, Ledger
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.period import Period
from tollkeeper.domain.usage import Totals, Usage
from tollkeeper.domain.window import Cadence
from tollkeeper.payments.invoice_event import OUR_INVOICE
from tollkeeper.payments.stripe import StripePayments
from tollkeeper.payments.stripe_invoices import StripeInvoices, StripeItems
from tollkeeper.services.collecting import Collectors, collect_owed, follow_collected
from tollkeeper.services.invoicing import usage_lines
from tollkeeper.services.reconciling import reconcile
from tollkeeper.services.reporting import confirm_reported, report_owed
from tollkeeper.services.reversing import reverse
from tollkeeper.services.windowing import enter_windows
from tollkeeper.storage.periods import stored_period
from tollkeeper.storage.plans import load_tariff
from tollkeeper.storage.totals import Sums
from tollkeeper.testing import FaultKind, FrozenClock, Rules, StripeStandIn
from tollkeeper.testing.stripe_standin.in_process import InProcessClient

Mode = Literal["meters", "invoices"]
MODES: tuple[Mode, ...] = ("meters", "invoices")
FEBRUARY = datetime(2027, 2, 1, tzinfo=NOVEMBER.tzinfo)
MONTHS = (Period(NOVEMBER, DECEMBER), Period(DECEMBER, JANUARY), Period(JANUARY, FEBRUARY))
GRACE = timedelta(minutes=5)
CUSTOMERS = ("ada", "bob")
MODELS = ("gpt-4o", "claude", "llama")
PLAN = """
[plans.p]
name = "P"
currency = "usd"
collect = "{collect}"
{more}
[[plans.p.prices]]
model = "*"
tiers = [{{ up_to = 500, price = "0" }}, {{ up_to = 2_000, price = "0.03" }}, {{ up_to = "inf", price = "0.02" }}]
[[plans.p.prices]]
model = "claude*"
price = "0.015"
stripe_meter = "claude_tokens"
"""
_DANGER = 0.03
_FAULT = 0.25
_COMPANY = 0.06


class Killed(BaseException):
    """The process is gone, before a call, or after it and before anything of it was written down."""


class Storm(stripe.HTTPClient):
    """The way to the stand-in, on which anything may happen while it is rough."""

    name = "storm"

    def __init__(self, standin: StripeStandIn, dice: random.Random) -> None:
        super().__init__()
        self.calm_client: InProcessClient = standin.http_client()
        self.rough = False
        self.beside: Callable[[], None] = lambda: None
        self.met: dict[str, int] = {}
        self._standin = standin
        self._dice = dice
        self._company = False

    def request(  # type: ignore[override] # as the stand-in's own client
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        if not self.rough:
            return self.calm_client.request(method, url, headers, post_data)
        self._maybe_kill()
        if self._dice.random() < _FAULT:
            kind = self._dice.choice(list(FaultKind))
            self._standin.inject(kind, retry_after=self._dice.choice([None, 30]), status=self._dice.choice([500, 503]))
            self._count(kind)
        if self._dice.random() < _COMPANY and not self._company:
            self._run_beside()
        if self._dice.random() < 0.2:
            self.calm_client.let_hung_calls_end()
        answer = self.calm_client.request(method, url, headers, post_data)
        self._maybe_kill()
        return answer

    def close(self) -> None:
        self.calm_client.close()

    def _run_beside(self) -> None:
        """While this call is under way somebody else works, too."""
        self._company = True
        self._count("two at once")
        with suppress(Killed):
            self.beside()
        self._company = False

    def _maybe_kill(self) -> None:
        if self._dice.random() < _DANGER:
            self._count("killed")
            raise Killed

    def _count(self, what: str) -> None:
        self.met[what] = self.met.get(what, 0) + 1


@dataclass
class Ending:
    """What a run came to: sentences about what is wrong, none where Stripe's total is what is owed; and what it went through."""

    wrong: list[str]
    calls: int
    met: dict[str, int] = field(default_factory=dict)


class Life:
    """Two customers over three months."""

    def __init__(self, ledger: Ledger, seed: int, mode: Mode) -> None:
        self._dice = random.Random(f"{mode} {seed}")
        self._ledger = ledger
        self._mode = mode
        self._cadence: Cadence = self._dice.choice(["period", "day", "hour"])
        self._clock = FrozenClock(NOVEMBER)
        lag = timedelta(minutes=self._dice.choice([0, 20]))
        self._standin = StripeStandIn(self._clock, rules=Rules(summaries_lag=lag), seed=f"{mode} {seed}")
        self._storm = Storm(self._standin, self._dice)
        self._storm.beside = self._sweep
        self._stripe = StripePayments(self._standin.api_key, api_base="https://standin.test", http_client=self._storm)
        self._collectors: Collectors = {
            "stripe": StripeInvoices(self._stripe),
            "stripe_items": StripeItems(self._stripe),
        }
        self._events: list[UUID] = []
        self._unknown: str | None = None
        self._priced: dict[tuple[str, Period], int] = {}
        """What Stripe's own invoices ask for, by customer and month."""

    def live(self) -> Ending:
        self._begin()
        for month in MONTHS[:2]:
            self._use(month)
            self._storms(month.end)
            self._clock.set(max(self._clock.now(), month.end + GRACE))
            self._close(month.end)
            self._storms(month.end + timedelta(minutes=55))
            if self._mode == "meters":
                self._stripe_finalizes(month)
            self._storms(month.end + timedelta(days=self._dice.choice([0.02, 1, 5])))
            self._use(month, late=True)
        self._clock.set(max(self._clock.now(), FEBRUARY + GRACE))
        self._close(FEBRUARY)
        self._storms(FEBRUARY + timedelta(days=self._dice.choice([0.5, 2, 6])))
        self._calm_down()
        ending = Ending([*self._wrong()], len(self._standin.calls()), self._storm.met)
        self._storm.close()
        return ending

    def _begin(self) -> None:
        more = 'base_fee = "10.00"' if self._mode == "invoices" else ""
        self._ledger.plan(PLAN.format(collect=self._mode, more=more))
        for name in ("ai_tokens", "claude_tokens"):
            self._standin.add_meter(name)
        if self._dice.random() < 0.2:
            self._unknown = self._dice.choice(CUSTOMERS)
        for user_id in CUSTOMERS:
            self._ledger.customer(user_id, "p", stripe=f"cus_{user_id}")
            if user_id != self._unknown:
                self._standin.add_customer(f"cus_{user_id}")

    def _use(self, month: Period, *, late: bool = False) -> None:
        """What happens in a month, stored then, or after it was closed."""
        length = month.end - month.start
        count = self._dice.randrange(0, 3) if late else self._dice.randrange(1, 6)
        events = []
        for _ in range(count):
            at = month.start + length * self._dice.random()
            usage = Usage(self._dice.choice(MODELS), self._dice.choice([1, 7, 100, 999]), self._dice.choice([0, 50]))
            events.append(UsageEvent(UUID(int=self._dice.getrandbits(128), version=4), self._user(), at, usage, 200))
        if events:
            answers = self._ledger.store(events, self._clock.now() if late else month.end)
            assert not any(isinstance(answer, Exception) for answer in answers), answers
        self._events += [event.id for event in events]
        if late and self._events and self._dice.random() < 0.3:
            event = self._events.pop(self._dice.randrange(len(self._events)))
            reverse(self._ledger.database, event, by="eve", reason="a mistake", now=self._clock.now())

    def _user(self) -> str:
        return self._dice.choice(CUSTOMERS)

    def _storms(self, until: datetime) -> None:
        """Time goes by, and workers come and go."""
        for _ in range(self._dice.randrange(2, 6)):
            self._storm.rough = True
            with suppress(Killed):
                self._sweep()
            self._storm.rough = False
            if self._dice.random() < 0.5:
                self._standin.clear_faults()
            wait = timedelta(minutes=self._dice.choice([0.2, 5, 45, 60 * 23, 60 * 30, 60 * 24 * 9]))
            if wait > timedelta(minutes=5):
                # A call that was given up is under way for minutes, not for days.
                self._storm.calm_client.let_hung_calls_end()
            if self._clock.now() + wait < until:
                self._clock.advance(wait)
            elif self._clock.now() < until and self._dice.random() < 0.5:
                self._clock.set(until)

    def _sweep(self, *, insist: bool = False) -> None:
        """What the workers do in turn."""
        database, now = self._ledger.database, self._clock.now()
        enter_windows(database, now=now, cadence=self._cadence, collect=self._mode, grace=GRACE)
        report_owed(database, self._stripe, now=now, insist=insist)
        collect_owed(database, self._collectors, now=now, insist=insist)
        confirm_reported(database, self._stripe, now=now)
        follow_collected(database, self._collectors, now=now)

    def _close(self, as_of: datetime) -> None:
        self._ledger.close(as_of=as_of, now=self._clock.now())

    def _stripe_finalizes(self, month: Period) -> None:
        """An hour after the month Stripe makes its invoices, if the customers have subscriptions there."""
        if self._dice.random() < 0.3:
            return
        self._storm.calm_client.let_hung_calls_end()
        self._clock.set(max(self._clock.now(), month.end + timedelta(hours=1)))
        for user_id in CUSTOMERS:
            if user_id != self._unknown and (
                priced := self._worth(user_id, month, self._counted({f"cus_{user_id}"}, month))
            ):
                self._priced[user_id, month] = priced
                self._standin.invoice(
                    customer=f"cus_{user_id}",
                    period_start=month.start,
                    period_end=month.end,
                    amount=priced,
                    subscription="sub_1",
                    status="open",
                )

    def _worth(self, user_id: str, month: Period, quantities: Totals) -> int:
        """What quantities of a month come to by its tariff."""
        with self._ledger.database.transaction() as connection:
            stored = stored_period(connection, user_id, month.start)
            if stored is None:
                return 0
            tariff = load_tariff(connection, stored.plan_id, stored.plan_version)
        return sum(line.amount for line in usage_lines(quantities, month, tariff))

    def _owed(self, user_id: str, month: Period) -> int:
        with self._ledger.database.transaction() as connection:
            stored = stored_period(connection, user_id, month.start)
        return 0 if stored is None else self._worth(user_id, month, stored.totals)

    def _calm_down(self) -> None:
        """Nothing goes wrong any more, and a person mends what waits for one."""
        self._standin.clear_faults()
        self._storm.calm_client.let_hung_calls_end()
        for n in range(40):
            self._clock.advance(timedelta(minutes=65))
            self._sweep(insist=n % 5 == 4)
            if n == 4 and self._unknown is not None:
                self._standin.add_customer("cus_found")
                self._ledger.run(
                    "UPDATE customers SET stripe_customer_id = 'cus_found' WHERE user_id = :user", user=self._unknown
                )
            if n > 5 and self._is_quiet():
                return

    def _is_quiet(self) -> bool:
        reports = self._ledger.rows("SELECT FROM stripe_reports WHERE state NOT IN ('confirmed', 'missed')")
        collections = self._ledger.rows("SELECT FROM collections WHERE state NOT IN ('issued', 'nothing_due')")
        return not reports and not collections

    def _wrong(self) -> Iterator[str]:
        if not self._is_quiet():
            yield f"not all is settled: {self._left()}"
        for user_id in CUSTOMERS:
            customers = {f"cus_{user_id}", *(["cus_found"] if user_id == self._unknown else [])}
            yield from (
                self._wrong_by_meters(user_id, customers)
                if self._mode == "meters"
                else self._wrong_by_invoices(user_id, customers)
            )
        found = reconcile(self._ledger.database, self._stripe, now=self._clock.now(), collectors=self._collectors)
        for row in found.rows:
            for difference in row.differences:
                yield f"reconcile, {row.user_id} {row.period.start:%Y-%m}: {difference}"

    def _left(self) -> list[dict[str, Any]]:
        return [
            *self._ledger.rows(
                "SELECT identifier, state, last_error FROM stripe_reports WHERE state NOT IN ('confirmed', 'missed')"
            ),
            *self._ledger.rows("SELECT collector, state, last_error FROM collections WHERE state <> 'issued'"),
        ]

    def _wrong_by_meters(self, user_id: str, customers: set[str]) -> Iterator[str]:
        """What Stripe prices by what it counts, and its items, against what the totals come to."""
        owed = sum(self._owed(user_id, month) for month in MONTHS)
        asked = 0
        for month in MONTHS:
            counted = self._worth(user_id, month, self._counted(customers, month))
            asked += self._priced.get((user_id, month), counted)
        items = [item for item in self._standin.invoice_items() if item["customer"] in customers]
        asked += sum(item["amount"] for item in items)
        if owed != asked:
            yield f"{user_id} owes {owed}, Stripe asks for {asked}"
        keys = [(item["metadata"][OUR_INVOICE], item["metadata"]["tollkeeper_line"]) for item in items]
        if len(keys) != len(set(keys)):
            yield f"{user_id}: an item is there twice"

    def _counted(self, customers: set[str], month: Period) -> Sums:
        counted = Sums()
        for event in self._standin.meter_events():
            inside = month.start.timestamp() <= event["timestamp"] < month.end.timestamp()
            if event["status"] == "counted" and event["customer"] in customers and inside:
                payload = event["payload"]
                counted.add({(payload["model"], payload["token_type"]): Decimal(payload["value"])})
        return counted

    def _wrong_by_invoices(self, user_id: str, customers: set[str]) -> Iterator[str]:
        """Stripe's invoices against ours, one for one."""
        ours = {str(one["id"]): one["total_amount"] for one in self._ledger.invoices(user_id) if one["total_amount"]}
        theirs = [one for one in self._standin.invoices() if one["customer"] in customers]
        if any(one["status"] not in ("open", "paid") for one in theirs):
            yield f"{user_id}: drafts are left at Stripe"
        there = sorted((one["metadata"][OUR_INVOICE], one["total"]) for one in theirs)
        if there != sorted(ours.items()):
            yield f"{user_id} is owed {sorted(ours.items())}, Stripe asks for {there}"

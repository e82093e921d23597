"""The life: subscribe, use across the tiers, fail to pay, pay, change the plan, cancel. Every sum is worked out by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from tollkeeper.domain.currency import display
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.period import Period, next_period, period_of
from tollkeeper.domain.plan_file import parse_plans
from tollkeeper.domain.usage import Usage
from tollkeeper.payments.invoice_event import InvoiceEvent
from tollkeeper.payments.stripe_catalog import StripeCatalog
from tollkeeper.rehearsal.figures import Figures
from tollkeeper.rehearsal.world import BAD_CARD, GOOD_CARD, World
from tollkeeper.services.checking_out import subscription_params
from tollkeeper.services.closing import close_due
from tollkeeper.services.dunning import enforce_access
from tollkeeper.services.following import LOOK_AGAIN, follow_plans
from tollkeeper.services.moving import move_customer
from tollkeeper.services.onboarding import add_customer
from tollkeeper.services.planning import apply_plans
from tollkeeper.services.provisioning import set_up
from tollkeeper.services.reporting import confirm_reported, report_owed
from tollkeeper.storage.customers import load_customer
from tollkeeper.storage.database import all_rows, first_row
from tollkeeper.storage.invoices import customer_invoices, lines_of
from tollkeeper.storage.plans import load_plan
from tollkeeper.storage.settlement import Settlement
from tollkeeper.storage.stripe_objects import objects_in_use

USER = "rehearsal"
METER = "tollkeeper_rehearsal_tokens"
GRACE = timedelta(hours=2)
"""Past the hour after which Stripe finalizes a renewal."""

PLANS = f"""
[plans.rehearsal-start]
name = "Rehearsal, start"
currency = "usd"
collect = "off"
interval = "anniversary"

[plans.rehearsal-pro]
name = "Rehearsal, pro"
currency = "usd"
collect = "meters"
interval = "anniversary"
base_fee = "20.00"
on_unpaid = "throttle"
[[plans.rehearsal-pro.prices]]
stripe_meter = "{METER}"
per = 1_000
tiers = [
  {{ up_to = 100_000, price = "0" }},
  {{ up_to = 1_000_000, price = "0.003" }},
  {{ up_to = "inf", price = "0.002" }},
]

[plans.rehearsal-max]
name = "Rehearsal, max"
currency = "usd"
collect = "meters"
interval = "anniversary"
base_fee = "50.00"
[[plans.rehearsal-max.prices]]
stripe_meter = "{METER}"
per = 1_000
price = "0.001"
"""
# Usage by period, and what it costs by hand, in cents.
FIRST = 1_250_000  # 100,000 free, 900,000 at $0.003 a thousand = 270, 250,000 at $0.002 = 50
FIRST_COSTS = 320
SECOND = 450_500  # 100,000 free, 350,500 at $0.003 = 105.15
SECOND_COSTS = 105
THIRD = 2_000_000  # at $0.001
THIRD_COSTS = 200
FEES = 2_000 + 2_000 + 5_000


@dataclass
class Life:
    """One run. `say` is told of each step."""

    world: World
    say: Callable[[str], None]
    figures: Figures
    customer: str = ""
    subscription: str = ""

    def live(self) -> None:
        """From nothing to the last invoice."""
        first = self._begin()
        second = next_period("anniversary", first, first.start)
        third = next_period("anniversary", second, first.start)
        self._subscribe("rehearsal-pro")
        self._first_period(first)
        self._second_period(second)
        self._third_period(third)
        self._everything()

    def _begin(self) -> Period:
        self.say("Plans, meters and prices")
        world, now = self.world, self.world.clock.now()
        apply_plans(world.database, parse_plans(PLANS), now)
        set_up(world.database, StripeCatalog(world.payments), now=now, endpoints=False)
        self.customer = world.customer(USER)
        add_customer(
            world.database,
            USER,
            email="rehearsal@example.com",
            plan_id="rehearsal-start",
            now=now,
            stripe_customer_id=self.customer,
            period_anchor=now,
        )
        return period_of("anniversary", now, now)

    def _subscribe(self, plan_id: str) -> None:
        self.say(f"Subscribe to {plan_id}")
        world = self.world
        with world.database.transaction() as connection:
            customer, plan = load_customer(connection, USER), load_plan(connection, plan_id)
            params = subscription_params(connection, world.payments.livemode, customer, plan)
        made = world.client.v1.subscriptions.create({**params, "customer": self.customer})  # type: ignore[arg-type]
        self.subscription = made.id
        world.hear()
        world.wait(f"{plan_id} to be given", lambda: self._customer()["plan_id"] == plan_id)
        self.figures.compare(f"{plan_id}: plan, access", self._standing(), f"{plan_id}, {_access_for(made.status)}")

    def _first_period(self, period: Period) -> None:
        self._use(FIRST, period)
        self.say("The card fails at the end of the first period")
        self.world.give_card(self.customer, BAD_CARD)
        self._end(period)
        self.figures.compare("1st period: usage by hand, on our invoice", FIRST_COSTS, self._usage_of(period))
        self._compare(period, "1st period, unpaid", "finalized", "open")
        failed_at = self.world.clock.now()
        enforce_access(self.world.database, now=failed_at + timedelta(days=8), grace=self.world.side.grace)
        self.figures.compare("after the grace", self._standing(), "rehearsal-pro, throttled")
        self.say("Another card, and the invoice is paid")
        self.world.give_card(self.customer, GOOD_CARD)
        self.world.client.v1.invoices.pay(self._stripes(period)["id"])
        self.world.hear()
        self.world.wait("access to be given back", lambda: self._customer()["access"] is None)
        self._compare(period, "1st period", "paid", "paid")

    def _second_period(self, period: Period) -> None:
        self._use(SECOND, period)
        self.say("Change the plan, from the third period on")
        move_customer(self.world.database, USER, "rehearsal-max", self.world.clock.now())
        self._follow()
        self._end(period)
        self.figures.compare("2nd period: usage by hand, on our invoice", SECOND_COSTS, self._usage_of(period))
        self._compare(period, "2nd period", "paid", "paid")

    def _third_period(self, period: Period) -> None:
        self._use(THIRD, period)
        self._follow()
        with self.world.database.transaction() as connection:
            wanted = objects_in_use(connection, self.world.payments.livemode)
        prices = sorted(
            one.stripe_id for one in wanted.values() if one.kind == "price" and one.plan_id == "rehearsal-max"
        )
        sold = self.world.side.selling.subscription(self.subscription) if self.world.side.selling else None
        self.figures.compare("3rd period: prices", ", ".join(prices), ", ".join(sorted(sold.prices if sold else ())))
        self.say("Cancel with the end of the third period")
        self.world.client.v1.subscriptions.update(self.subscription, {"cancel_at_period_end": True})
        self._end(period)
        self.world.wait("the subscription to end", lambda: self._customer()["access"] == "suspended")
        self.figures.compare("3rd period: usage by hand, on our invoice", THIRD_COSTS, self._usage_of(period))
        self._compare(period, "3rd period", "paid", "paid")

    def _follow(self) -> None:
        """What the worker does every few minutes."""
        world = self.world
        assert world.side.selling is not None
        world.clock.advance(LOOK_AGAIN)
        follow_plans(world.database, world.side, world.side.selling, now=world.clock.now())

    def _use(self, tokens: int, period: Period) -> None:
        self.say(f"Use {tokens:,} tokens")
        at = max(period.start, self.world.clock.now()) + timedelta(hours=1)
        event = UsageEvent(uuid4(), USER, at, Usage("rehearsal-model", tokens, 0), 200)

        async def settle() -> None:
            async with Settlement(self.world.database.url, self.world.database.schema) as settlement:
                [answer] = await settlement.settle([event], now=at)
                if isinstance(answer, Exception):
                    raise answer

        asyncio.run(settle())

    def _end(self, period: Period) -> None:
        """Stripe's draft comes, we close and report within its hour, and Stripe finalizes."""
        world = self.world
        world.go_to(period.end + timedelta(minutes=5))
        now = world.clock.now()
        close_due(world.database, now=now, as_of=now)
        report_owed(world.database, world.payments, now=now)
        world.wait("Stripe's sum", lambda: self._counted(period) == self._reported(period))
        world.go_to(period.end + GRACE)
        confirm_reported(world.database, world.payments, now=world.clock.now())
        world.wait("the renewal to be final", lambda: self._stripes(period).get("status") in ("open", "paid"))
        world.wait("our invoice to be named", lambda: self._ours(period)["stripe_invoice_id"] is not None)

    def _compare(self, period: Period, what: str, ours: str, stripes: str) -> None:
        """Quantities, charges and standing of one period, on both sides."""
        self.world.wait(f"{what} to be {ours}", lambda: self._ours(period)["status"] == ours)
        invoice, found = self._ours(period), self._stripes(period)
        if ours == "paid":
            self.figures.compare(f"{what}: tokens", self._reported(period), self._counted(period))
        event = InvoiceEvent({"data": {"object": found}})
        self.figures.compare(f"{what}: usage charged", self._usage_of(period), event.usage_total)
        self.figures.compare(
            f"{what}: alarm, status", f"{invoice['alarm']}, {ours}", f"None, {_as_ours(found['status'])}"
        )
        if found["status"] != stripes:
            self.figures.compare(f"{what}: Stripe's invoice", stripes, found["status"])

    def _everything(self) -> None:
        """Fees come at other times there, so they are compared over the whole life."""
        invoices = self.world.client.v1.invoices.list({"customer": self.customer, "limit": 100}).data
        theirs = sum(invoice.total for invoice in invoices)
        with self.world.database.transaction() as connection:
            ours = customer_invoices(connection, USER, None, 100)
            fees = sum(line.amount for one in ours for line in lines_of(connection, one.id) if line.kind == "base_fee")
        total = sum(one.total_amount for one in ours)
        self.figures.compare("fees by hand, on our invoices", display(FEES, "usd"), display(fees, "usd"))
        self.figures.compare("all invoices together", display(total, "usd"), display(theirs, "usd"))

    def _customer(self) -> dict[str, Any]:
        with self.world.database.transaction() as connection:
            row = first_row(connection, "SELECT plan_id, access FROM customers WHERE user_id = :user", user=USER)
        assert row is not None
        return row

    def _standing(self) -> str:
        found = self._customer()
        return f"{found['plan_id']}, {found['access'] or 'everything'}"

    def _ours(self, period: Period) -> dict[str, Any]:
        with self.world.database.transaction() as connection:
            [row] = all_rows(
                connection,
                "SELECT id, status, alarm, stripe_invoice_id FROM invoices WHERE user_id = :user AND period_start = :start",
                user=USER,
                start=period.start,
            )
        return row

    def _usage_of(self, period: Period) -> int:
        with self.world.database.transaction() as connection:
            lines = lines_of(connection, self._ours(period)["id"])
        return sum(line.amount for line in lines if line.kind != "base_fee")

    def _stripes(self, period: Period) -> dict[str, Any]:
        """Stripe's invoice for the period; empty while there is none."""
        found = self.world.client.v1.invoices.list({"customer": self.customer, "limit": 100}).data
        end = int(period.end.timestamp())
        return next((one.to_dict(for_json=True) for one in found if one.period_end == end), {})

    def _reported(self, period: Period) -> int:
        with self.world.database.transaction() as connection:
            row = first_row(
                connection,
                "SELECT coalesce(sum(value), 0) AS n FROM stripe_reports WHERE user_id = :user AND period_start = :start",
                user=USER,
                start=period.start,
            )
        return 0 if row is None else int(row["n"])

    def _counted(self, period: Period) -> int:
        meter = self.world.payments.meter_id_for(METER)
        if meter is None:
            return 0
        return int(
            self.world.payments.metered_total(
                meter_id=meter, customer=self.customer, start=period.start, end=_whole_minute(period.end)
            )
        )


def _whole_minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def _as_ours(status: str) -> str:
    return "finalized" if status == "open" else status


def _access_for(status: str) -> str:
    return "everything" if status in ("active", "trialing") else status

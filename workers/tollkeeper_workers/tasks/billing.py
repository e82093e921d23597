"""Closing periods, telling Stripe, and taking in what Stripe tells us."""

from __future__ import annotations

from datetime import timedelta

from tollkeeper.services import (
    closing,
    collecting,
    dunning,
    following,
    journaling,
    linking,
    receiving,
    reporting,
    windowing,
)
from tollkeeper_workers.process import runtime
from tollkeeper_workers.tasks.pacing import BUDGET_SECONDS, go_on


def close_due() -> None:
    """Close every period that ended longer ago than the grace, and draft its invoice; none that this machine's journal is of."""
    own = runtime()
    now, until = own.clock.now(), own.clock.monotonic() + BUDGET_SECONDS
    closing.close_due(
        own.database,
        now=now,
        as_of=journaling.complete_until(own.settings.journal_dir, now),
        go_on=lambda: own.clock.monotonic() < until,
        collect=own.settings.collect,
        grace_seconds=own.settings.close_grace_seconds,
        sanity=own.settings.sanity,
    )


def report_owed() -> None:
    """Tell Stripe what closed periods owe, and days or hours that are over; nothing where no key is set."""
    own = runtime()
    stripe = own.stripe
    if stripe is not None:
        windowing.enter_windows(
            own.database,
            now=own.clock.now(),
            cadence=own.settings.stripe_cadence,
            collect=own.settings.collect,
            grace=timedelta(seconds=own.settings.close_grace_seconds),
        )
        go_on(own.clock, lambda: reporting.report_owed(own.database, stripe, now=own.clock.now()).more)


def collect_invoices() -> None:
    """Have invoices that we priced ourselves collected; those of collectors whose key is set."""
    own = runtime()
    go_on(own.clock, lambda: collecting.collect_owed(own.database, own.collectors, now=own.clock.now()).more)


def follow_invoices() -> None:
    """Look whether invoices that are out were paid, where nothing was heard of them for long."""
    own = runtime()
    collecting.follow_collected(own.database, own.collectors, now=own.clock.now())


def confirm_reports() -> None:
    """Read back from Stripe whether what was told is counted."""
    own = runtime()
    stripe = own.stripe
    if stripe is not None:
        go_on(own.clock, lambda: reporting.confirm_reported(own.database, stripe, now=own.clock.now()).more)


def apply_webhooks() -> None:
    """Apply events that are stored and wait."""
    own = runtime()
    receiving.apply_pending_webhooks(own.database, now=own.clock.now(), side=own.payment_side)


def link_customers() -> None:
    """Make at Stripe the customers whom it is to bill; nothing where no key is set."""
    own = runtime()
    selling, collect = own.selling, own.settings.collect
    if selling is not None:
        go_on(
            own.clock,
            lambda: linking.link_customers(own.database, selling, now=own.clock.now(), collect=collect).more,
        )


def follow_plans() -> None:
    """Give subscriptions the prices that their customers' plans have now; nothing where no key is set."""
    own = runtime()
    if own.selling is not None:
        following.follow_plans(own.database, own.payment_side, own.selling, now=own.clock.now())


def enforce_access() -> None:
    """Narrow the access of customers whose payment failed longer ago than the grace, as their plan says."""
    own = runtime()
    side = own.payment_side
    dunning.enforce_access(own.database, now=own.clock.now(), grace=side.grace, default_plan=side.default_plan)

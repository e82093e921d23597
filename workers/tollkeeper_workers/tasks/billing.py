"""Closing periods, telling Stripe, and taking in what Stripe tells us."""

from __future__ import annotations

from tollkeeper.services.receiving import apply_pending_webhooks

from tollkeeper.services.closing import close_due as close_what_is_due
from tollkeeper.services.reporting import confirm_reported
from tollkeeper.services.reporting import report_owed as report_what_is_owed
from tollkeeper_workers.process import runtime


def close_due() -> None:
    """Close every period that ended longer ago than the grace, and draft its invoice."""
    own = runtime()
    now = own.clock.now()
    settings = own.settings
    close_what_is_due(
        own.database, now=now, as_of=now, collect=settings.collect, grace_seconds=settings.close_grace_seconds
    )


def report_owed() -> None:
    """Tell Stripe what closed periods owe; nothing where no key is set."""
    own = runtime()
    if own.stripe is not None:
        report_what_is_owed(own.database, own.stripe, now=own.clock.now())


def confirm_reports() -> None:
    """Read back from Stripe whether what was told is counted."""
    own = runtime()
    if own.stripe is not None:
        confirm_reported(own.database, own.stripe, now=own.clock.now())


def apply_webhooks() -> None:
    """Apply events that are stored and wait."""
    own = runtime()
    apply_pending_webhooks(own.database, now=own.clock.now())

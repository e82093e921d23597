"""What keeps the system in order."""

from __future__ import annotations

import asyncio

from tollkeeper.services import beating, crediting, proving, quarantining, retaining, sweeping, watching
from tollkeeper_workers.heart import this_worker
from tollkeeper_workers.process import runtime


def settle_expired_holds() -> None:
    """Give back the holds of processes that were killed, and leave a row for each request that was lost with them."""
    own = runtime()
    settings = own.settings
    asyncio.run(
        sweeping.settle_expired_holds(settings.need_database_url(), settings.db_schema, own.database, own.clock.now())
    )


def replay_journals() -> None:
    """Store the usage that waits on this machine's disk; what is refused goes where a person sees it."""
    own = runtime()
    settings = own.settings
    asyncio.run(
        sweeping.replay_journals(
            settings.need_database_url(), settings.db_schema, settings.journal_dir, own.clock.now()
        )
    )
    quarantining.collect_refused(own.database, settings.journal_dir, own.clock.now())


def make_partitions() -> None:
    """Make the partitions of this month and those ahead, where they are missing."""
    own = runtime()
    sweeping.make_partitions_ahead(own.database, own.clock.now())


def heartbeat() -> None:
    """Show that messages come through broker and worker."""
    own = runtime()
    beating.say_alive(own.database, this_worker(), "worker", own.clock.now(), worked=True)


def watch() -> None:
    """Raise an alarm where reports or closes wait longer than they should."""
    own = runtime()
    watching.watch(own.database, own.clock.now(), grace_seconds=own.settings.close_grace_seconds)


def reconcile() -> None:
    """Compare events, totals, invoices, reports and Stripe once a day, and keep what was found."""
    own = runtime()
    proving.prove_daily(own.database, own.stripe, own.clock, collectors=own.collectors)


def archive_usage() -> None:
    """Archive the oldest month behind the retention, if there is one and all of it is settled."""
    own = runtime()
    months, folder = own.settings.retain_months, own.settings.archive_dir
    if months is not None and folder is not None:
        retaining.archive_next(own.database, own.clock.now(), months, folder)


def expire_credits() -> None:
    """Take out what is left of credit that nothing can be paid with any more."""
    own = runtime()
    crediting.expire_credits(own.database, own.clock.now())

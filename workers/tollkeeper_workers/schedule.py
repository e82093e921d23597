"""What runs when, and why.

Every task is a sweeper: it looks in the database for what is due and does it, so it may run twice at once, late, or not for
hours, and the result is the same. `every` counts sweeps (`TOLLKEEPER_SWEEP_SECONDS`, 30 s unless set).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table."""

    task: str
    every: int
    why: str


SCHEDULE = (
    Entry("tollkeeper.close_due", 2, "a period that is over is closed and its invoice drafted, after the grace"),
    Entry("tollkeeper.report_owed", 1, "Stripe finalizes an hour after midnight: what closed is told within minutes"),
    Entry(
        "tollkeeper.collect_invoices", 2, "an invoice that we priced goes to its collector soon after it was drafted"
    ),
    Entry(
        "tollkeeper.follow_invoices",
        2,
        "who has paid is looked up: as soon as a webhook rang, and twice a day without one",
    ),
    Entry("tollkeeper.confirm_reports", 30, "Stripe's sums lag; they are read back until they show what was told"),
    Entry("tollkeeper.send_notices", 1, "a customer should hear of 80 % before reaching 100 %"),
    Entry("tollkeeper.post_to_slack", 1, "the same in Slack rooms, where mail cannot hold it up, nor it the mail"),
    Entry("tollkeeper.call_hooks", 1, "the same at endpoints of customers' own, which may be slow or away for days"),
    Entry("tollkeeper.apply_webhooks", 2, "an event that was stored and could not be applied at once is tried again"),
    Entry("tollkeeper.link_customers", 2, "whoever was added is a customer at Stripe before their first report is due"),
    Entry(
        "tollkeeper.follow_plans",
        4,
        "another plan's prices have to be there between two periods, which is within hours",
    ),
    Entry("tollkeeper.enforce_access", 20, "the grace after a failed payment is counted in days"),
    Entry(
        "tollkeeper.settle_expired_holds",
        2,
        "a process that was killed leaves its holds; they must not lock a customer",
    ),
    Entry(
        "tollkeeper.replay_journals", 2, "usage that waited on this machine's disk is stored once the database is back"
    ),
    Entry("tollkeeper.make_partitions", 120, "months ahead stand ready, so that no request has to make one"),
    Entry("tollkeeper.archive_usage", 120, "months behind the retention go one at a time, once all of each is settled"),
    Entry(
        "tollkeeper.expire_credits",
        120,
        "credit of customers who get no invoice would be shown for ever",
    ),
    Entry(
        "tollkeeper.forget_notices", 120, "what was told more than a year ago is of no use; its log would grow for ever"
    ),
    Entry("tollkeeper.heartbeat", 1, "a worker can live and hear nothing: this shows that messages come through to it"),
    Entry(
        "tollkeeper.watch",
        10,
        "reports to Stripe that wait 45 minutes after a close leave a person a quarter of an hour",
    ),
    Entry(
        "tollkeeper.reconcile",
        10,
        "once a day everything is compared with everything: whoever finds that a day is over begins, and goes on page by page",
    ),
)

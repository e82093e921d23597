"""Every task by its name: a few lines each, around one service."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tollkeeper_workers.tasks.billing import (
    apply_webhooks,
    close_due,
    collect_invoices,
    confirm_reports,
    enforce_access,
    follow_invoices,
    follow_plans,
    link_customers,
    report_owed,
)
from tollkeeper_workers.tasks.notices import call_hooks, forget_notices, post_to_slack, send_notices
from tollkeeper_workers.tasks.upkeep import (
    archive_usage,
    expire_credits,
    heartbeat,
    make_partitions,
    reconcile,
    replay_journals,
    settle_expired_holds,
    watch,
)

TASKS: Mapping[str, Callable[[], None]] = {
    f"tollkeeper.{function.__name__}": function
    for function in (
        apply_webhooks,
        archive_usage,
        call_hooks,
        close_due,
        collect_invoices,
        confirm_reports,
        enforce_access,
        expire_credits,
        follow_invoices,
        follow_plans,
        forget_notices,
        heartbeat,
        link_customers,
        make_partitions,
        post_to_slack,
        reconcile,
        replay_journals,
        report_owed,
        send_notices,
        settle_expired_holds,
        watch,
    )
}

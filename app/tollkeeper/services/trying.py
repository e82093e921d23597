"""Trying: a customer's first days on a plan with a trial, in which neither usage nor a base fee is charged.

A trial is a version of the plan for that customer alone, at no charge, for the part of the period up to its end.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from tollkeeper.domain.plan import Plan
from tollkeeper.domain.proration import in_trial, trial_end
from tollkeeper.storage.plans import add_own_version, lock_plans
from tollkeeper.storage.spans import save_trial_end, span_of


def begin_trial(connection: Connection, user_id: str, plan: Plan, now: datetime) -> None:
    """Begin the trial of a customer who has just been added, where the plan has one."""
    until = trial_end(now, plan.tariff.trial_days)
    if until is not None:
        lock_plans(connection)
        save_trial_end(connection, user_id, until)
        _add_version(connection, user_id, plan, now, until)


def continue_trial(connection: Connection, user_id: str, plan: Plan, now: datetime) -> None:
    """Let a trial that is not over go on, on the plan that the customer comes to. Plans must be locked."""
    until = span_of(connection, user_id).trial_end
    if until is not None and until > now:
        _add_version(connection, user_id, plan, now, until)


def _add_version(connection: Connection, user_id: str, plan: Plan, now: datetime, until: datetime) -> None:
    tariff = in_trial(plan.tariff)
    add_own_version(connection, plan.id, user_id, tariff, now, purpose="trial", immediate=True, until=until)

"""Living: whether work leaves the house, who does it, and what the daily comparison found. Reads and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from sqlalchemy import Connection

from tollkeeper.domain.check import Check, State
from tollkeeper.storage.heartbeats import heartbeats
from tollkeeper.storage.overdue import Overdue, stuck_reports, waiting_deliveries, waiting_webhooks
from tollkeeper.storage.reconciliations import last_run

MAX_OUTBOX_AGE = timedelta(minutes=45)
MAX_SILENCE = timedelta(minutes=5)
MAX_PROOF_AGE = timedelta(days=2)
_OUTBOXES: dict[str, Callable[[Connection, datetime], Overdue]] = {
    "reports to Stripe": stuck_reports,
    "notices": waiting_deliveries,
    "webhook events": waiting_webhooks,
}


def signs_of_life(connection: Connection, now: datetime) -> Iterator[Check]:
    """What waits to leave, which processes are alive, and the last proof that everything adds up."""
    yield _outbox(connection, now)
    yield from _processes(connection, now)
    yield _proof(connection, now)


def _outbox(connection: Connection, now: datetime) -> Check:
    """How long what is to leave the house has waited for it."""
    ages = []
    for what, look in _OUTBOXES.items():
        overdue = look(connection, now)
        if overdue.since is not None:
            ages.append(
                (now - overdue.since, f"{overdue.number} {what}, the oldest for {_spoken(now - overdue.since)}")
            )
    if not ages:
        return Check("outbox", "ok", "nothing waits")
    state: State = "warning" if max(age for age, _ in ages) > MAX_OUTBOX_AGE else "ok"
    return Check("outbox", state, "; ".join(text for _, text in ages))


def _processes(connection: Connection, now: datetime) -> Iterator[Check]:
    found = heartbeats(connection)
    for role in ("beat", "worker"):
        said = [one.worked_at if role == "worker" else one.alive_at for one in found if one.role == role]
        times = [at for at in said if at is not None]
        if not times:
            yield Check(role, "warning", f"no {role} has been heard of; is one running?")
            continue
        silent = now - max(times)
        lives = sum(one.role == role and now - one.alive_at <= MAX_SILENCE for one in found)
        detail = f"{lives} alive, {'work was done' if role == 'worker' else 'last heard of'} {_spoken(silent)} ago"
        yield Check(role, "ok" if silent <= MAX_SILENCE else "warning", detail)


def _proof(connection: Connection, now: datetime) -> Check:
    """What the daily reconciling found; doctor's own look at the totals comes after it."""
    run = last_run(connection)
    if run is None or run.ended_at is None:
        return Check("reconciling", "warning", "the daily run has not come to its end yet")
    age = now - run.ended_at
    told = f"{run.periods} periods compared {_spoken(age)} ago"
    if run.differing:
        return Check("reconciling", "warning", f"{told}, {run.differing} differences; see: tollkeeper reconcile")
    return Check("reconciling", "ok" if age <= MAX_PROOF_AGE else "warning", f"{told}, no difference")


def _spoken(age: timedelta) -> str:
    """`40 s`, `12 min`, `5 h` or `3 days`."""
    seconds = max(0, int(age.total_seconds()))
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"

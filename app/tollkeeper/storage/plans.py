"""Plans, and the versions of what they charge."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection

from tollkeeper.domain.errors import NotFound
from tollkeeper.domain.plan import Plan, RateLimit
from tollkeeper.domain.pricing.tariff import Tariff
from tollkeeper.domain.split import Split
from tollkeeper.storage.database import all_rows, change, first_row

OwnPurpose: TypeAlias = Literal["override", "trial", "rating"]
"""Why a customer has a version: prices of their own, a trial, or a price for what had none in a period."""

_LOCK = 0x706C616E  # "plan": two files that are applied at once queue up


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """When a version of a plan's tariff was applied, and whether it counts for the period that was open then."""

    version: int
    applied_at: datetime
    now: bool
    until: datetime | None = None
    """Set for a trial: it counts for periods that end at or before this instant."""


@dataclass(frozen=True, slots=True)
class PlanListing:
    """A plan with its newest version, and how many customers are on it."""

    plan: Plan
    version: int
    applied_at: datetime
    customers: int


def plan_from_row(row: Mapping[str, Any], tariff: Tariff) -> Plan:
    """The plan in a row of `plans`, charging by `tariff`."""
    return Plan(
        id=row["id"],
        name=row["name"],
        tariff=tariff,
        spend_cap=row["spend_cap"],
        at_cap=row["at_cap"],
        quota_tokens=row["quota_tokens"],
        rate_limit=_limit(row["rate_limit"]),
        throttle_limit=_limit(row["throttle_limit"]),
        collect=row["collect"],
        collector=row["collector"],
        days_until_due=row["days_until_due"],
        split=None if row["split"] is None else Split.from_json(row["split"]),
        unpriced=row["unpriced"],
        hold_tokens=row["hold_tokens"],
        upgrade_url=row["upgrade_url"],
        on_unpaid=row["on_unpaid"],
    )


def load_plan(connection: Connection, plan_id: str, at_version: int | None = None) -> Plan:
    """The plan with the limits of now and the tariff of a version, the newest where none is named; or `NotFound`."""
    found = find_plan(connection, plan_id, at_version)
    if found is None:
        raise NotFound("plan", plan_id if at_version is None else f"{plan_id} version {at_version}")
    return found[0]


def find_plan(connection: Connection, plan_id: str, at_version: int | None = None) -> tuple[Plan, int] | None:
    """The plan with the tariff of a version, the newest where none is named, and that version's number; or None."""
    row = first_row(
        connection,
        """
        SELECT p.*, v.version, v.tariff FROM plans AS p JOIN plan_versions AS v ON v.plan_id = p.id
        WHERE p.id = :plan AND CASE WHEN CAST(:version AS integer) IS NULL THEN v.user_id IS NULL ELSE v.version = :version END
        ORDER BY v.version DESC LIMIT 1
        """,
        plan=plan_id,
        version=at_version,
    )
    return None if row is None else (plan_from_row(row, Tariff.from_json(row["tariff"])), row["version"])


def load_tariff(connection: Connection, plan_id: str, version: int) -> Tariff:
    """What a version of a plan charges, or `NotFound`."""
    row = first_row(
        connection,
        "SELECT tariff FROM plan_versions WHERE plan_id = :plan AND version = :version",
        plan=plan_id,
        version=version,
    )
    if row is None:
        raise NotFound("plan version", f"{plan_id} {version}")
    return Tariff.from_json(row["tariff"])


def versions_of(connection: Connection, plan_id: str, user_id: str | None = None) -> list[PlanVersion]:
    """All versions of a plan that are for everybody, and those for one customer where one is named; oldest first."""
    rows = all_rows(
        connection,
        """
        SELECT version, applied_at, immediate, until FROM plan_versions
        WHERE plan_id = :plan AND (user_id IS NULL OR (user_id = :user AND purpose <> 'rating')) ORDER BY version
        """,
        plan=plan_id,
        user=user_id,
    )
    return [PlanVersion(row["version"], row["applied_at"], row["immediate"], row["until"]) for row in rows]


def versions_for(
    connection: Connection, plan_ids: Collection[str], users: Collection[str]
) -> dict[tuple[str, str | None], list[PlanVersion]]:
    """The same for many at once: by plan and None, those for everybody; by plan and customer, all that are for that one.

    A customer without versions of their own has no entry.
    """
    rows = all_rows(
        connection,
        """
        SELECT plan_id, user_id, version, applied_at, immediate, until FROM plan_versions
        WHERE plan_id = ANY(:plans) AND (user_id IS NULL OR (user_id = ANY(:users) AND purpose <> 'rating'))
        ORDER BY version
        """,
        plans=list(plan_ids),
        users=list(users),
    )
    found: dict[tuple[str, str | None], list[PlanVersion]] = {}
    for row in rows:
        version = PlanVersion(row["version"], row["applied_at"], row["immediate"], row["until"])
        found.setdefault((row["plan_id"], row["user_id"]), []).append(version)
    for (plan_id, user_id), versions in found.items():
        if user_id is not None:
            versions[:] = sorted([*found.get((plan_id, None), []), *versions], key=lambda one: one.version)
    return found


def last_version(connection: Connection, plan_id: str) -> int:
    """The highest number that a version of the plan has, whomever it is for; 0 where there is none."""
    row = first_row(connection, "SELECT max(version) AS n FROM plan_versions WHERE plan_id = :plan", plan=plan_id)
    return 0 if row is None or row["n"] is None else int(row["n"])


def list_plans(connection: Connection) -> list[PlanListing]:
    """Every plan by name, as it is in force now."""
    rows = all_rows(
        connection,
        """
        SELECT p.*, v.version, v.tariff, v.applied_at,
               (SELECT count(*) FROM customers AS c WHERE c.plan_id = p.id) AS customers
        FROM plans AS p
        CROSS JOIN LATERAL (
            SELECT * FROM plan_versions WHERE plan_id = p.id AND user_id IS NULL ORDER BY version DESC LIMIT 1
        ) AS v
        ORDER BY p.id
        """,
    )
    return [
        PlanListing(
            plan=plan_from_row(row, Tariff.from_json(row["tariff"])),
            version=row["version"],
            applied_at=row["applied_at"],
            customers=row["customers"],
        )
        for row in rows
    ]


def lock_plans(connection: Connection) -> None:
    """Wait until no other transaction changes plans by this way; held until the transaction ends."""
    change(connection, "SELECT pg_advisory_xact_lock(:lock)", lock=_LOCK)


def has_usage(connection: Connection, plan_id: str) -> bool:
    """Whether anything was ever metered on the plan, or for a customer who is on it now."""
    row = first_row(
        connection,
        """
        SELECT EXISTS (SELECT FROM usage_periods WHERE plan_id = :plan
                       OR plan_parts @> jsonb_build_array(jsonb_build_object('plan_id', CAST(:plan AS text))))
            OR EXISTS (SELECT FROM usage_periods JOIN customers AS c USING (user_id) WHERE c.plan_id = :plan) AS used
        """,
        plan=plan_id,
    )
    return row is not None and bool(row["used"])


def save_plan(connection: Connection, plan: Plan, now: datetime) -> None:
    """Store the plan's limits: in force at the next request."""
    change(
        connection,
        """
        INSERT INTO plans (id, name, currency, billing_interval, spend_cap, at_cap, quota_tokens, rate_limit,
                           throttle_limit, collect, collector, days_until_due, split, unpriced, hold_tokens,
                           upgrade_url, on_unpaid, created_at, updated_at)
        VALUES (:id, :name, :currency, :billing_interval, :spend_cap, :at_cap, :quota_tokens, :rate_limit,
                :throttle_limit, :collect, :collector, :days_until_due, CAST(:split AS jsonb), :unpriced, :hold_tokens,
                :upgrade_url, :on_unpaid, :now, :now)
        ON CONFLICT (id) DO UPDATE SET
            name = excluded.name, currency = excluded.currency, billing_interval = excluded.billing_interval,
            spend_cap = excluded.spend_cap, at_cap = excluded.at_cap, quota_tokens = excluded.quota_tokens,
            rate_limit = excluded.rate_limit, throttle_limit = excluded.throttle_limit,
            collect = excluded.collect, collector = excluded.collector, days_until_due = excluded.days_until_due,
            split = excluded.split, unpriced = excluded.unpriced,
            hold_tokens = excluded.hold_tokens, upgrade_url = excluded.upgrade_url,
            on_unpaid = excluded.on_unpaid, updated_at = excluded.updated_at
        """,
        id=plan.id,
        name=plan.name,
        currency=plan.currency,
        billing_interval=plan.interval,
        spend_cap=plan.spend_cap,
        at_cap=plan.at_cap,
        quota_tokens=plan.quota_tokens,
        rate_limit=None if plan.rate_limit is None else str(plan.rate_limit),
        throttle_limit=None if plan.throttle_limit is None else str(plan.throttle_limit),
        collect=plan.collect,
        collector=plan.collector,
        days_until_due=plan.days_until_due,
        split=None if plan.split is None else json.dumps(plan.split.to_json()),
        unpriced=plan.unpriced,
        hold_tokens=plan.hold_tokens,
        upgrade_url=plan.upgrade_url,
        on_unpaid=plan.on_unpaid,
        now=now,
    )


def add_version(connection: Connection, plan: Plan, version: int, now: datetime, *, immediate: bool) -> None:
    """Store the plan's tariff as a version; a number that exists is refused by the table."""
    _insert_version(connection, plan.id, version, plan.tariff, now, immediate=immediate)


def add_own_version(
    connection: Connection,
    plan_id: str,
    user_id: str,
    tariff: Tariff,
    now: datetime,
    *,
    purpose: OwnPurpose,
    immediate: bool = False,
    until: datetime | None = None,
) -> int:
    """Store a tariff as a version for one customer alone, and its number. Plans must be locked."""
    version = last_version(connection, plan_id) + 1
    _insert_version(
        connection, plan_id, version, tariff, now, immediate=immediate, user_id=user_id, purpose=purpose, until=until
    )
    return version


def _insert_version(
    connection: Connection,
    plan_id: str,
    version: int,
    tariff: Tariff,
    now: datetime,
    *,
    immediate: bool,
    user_id: str | None = None,
    purpose: str = "plan",
    until: datetime | None = None,
) -> None:
    change(
        connection,
        """
        INSERT INTO plan_versions (plan_id, version, tariff, applied_at, immediate, user_id, purpose, until)
        VALUES (:plan, :version, CAST(:tariff AS jsonb), :now, :immediate, :user, :purpose, :until)
        """,
        plan=plan_id,
        version=version,
        tariff=json.dumps(tariff.to_json()),
        now=now,
        immediate=immediate,
        user=user_id,
        purpose=purpose,
        until=until,
    )


def drop_unused_versions(connection: Connection, plan_id: str) -> None:
    """Forget versions by which nothing was ever metered; one that is in use is refused by the table."""
    change(connection, "DELETE FROM plan_versions WHERE plan_id = :plan", plan=plan_id)


def _limit(text: str | None) -> RateLimit | None:
    return None if text is None else RateLimit.parse(text)

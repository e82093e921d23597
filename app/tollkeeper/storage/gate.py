"""The gate's read: who is asking, on which plan, how much was used; and a hold for each, all in one statement.

The hold is stored before anybody decides on it, so that whoever rebuilds the counters knows of every request in flight, and
the close knows what to wait for. It is not fsynced on its own (`synchronous_commit=off`): losing the last instant of holds
together with a crash of the database loses no usage.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg.rows import dict_row

from tollkeeper.domain.account import Account, CustomerUnknown
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.period import Period, cut, period_of
from tollkeeper.domain.plan import Plan, version_for
from tollkeeper.domain.pricing import has_free_tokens, position_matters
from tollkeeper.domain.pricing.tariff import Tariff
from tollkeeper.domain.usage import Totals
from tollkeeper.grouping import Grouped
from tollkeeper.storage.database import load_json
from tollkeeper.storage.plans import plan_from_row
from tollkeeper.storage.totals import totals_from_json
from tollkeeper.storage.wire import Wire

_PLANS_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class Ask:
    """One request at the gate: by key or by name, with the hold that it wants."""

    hold_id: UUID
    at: datetime
    expires_at: datetime
    key_hash: bytes | None = None
    user_id: str | None = None
    model_id: str | None = None
    tokens_in: int = 0
    tokens_out: int | None = None
    method: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class _Version:
    version: int
    applied_at: datetime
    now: bool
    until: datetime | None


@dataclass(frozen=True, slots=True)
class StoredHold:
    """A hold as it stands in the database: what its request said of itself."""

    id: UUID
    model_id: str | None
    tokens_in: int
    tokens_out: int | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """What a customer's counters are rebuilt from; amounts in minor units."""

    version: int
    spend: Decimal
    tokens: int
    holds: tuple[StoredHold, ...]


# Where a customer stands at an instant; `asked` names the customers and the instants.
_ACCOUNTS = """
SELECT a.n, c.user_id, c.status, c.period_anchor, c.own_spend_cap, c.access, c.trial_end, c.closed_at, p.*,
       u.period_start, u.period_end, u.plan_id AS tariff_plan_id,
       u.plan_version AS tariff_version, u.version, u.tokens, u.totals::text AS totals,
       u.spent, u.cost_units,
       CASE WHEN u.period_start IS NULL THEN
           (SELECT json_agg(json_build_array(v.version, v.applied_at, v.immediate, v.until) ORDER BY v.version)
            FROM plan_versions AS v
            WHERE v.plan_id = p.id AND (v.user_id IS NULL OR (v.user_id = c.user_id AND v.purpose <> 'rating')))
       END AS versions
FROM {asked} AS a
JOIN customers AS c ON c.user_id = a.user_id
JOIN plans AS p ON p.id = c.plan_id
LEFT JOIN LATERAL (
    SELECT * FROM usage_periods AS u
    WHERE u.user_id = c.user_id AND u.period_start <= a.at ORDER BY u.period_start DESC LIMIT 1
) AS u ON u.period_end > a.at
"""

_GATE = """
WITH asked AS (
    SELECT r.*, coalesce(k.user_id, r.named) AS user_id
    FROM json_to_recordset(%s::json) AS r(
        n int, id uuid, key text, named text, at timestamptz, until timestamptz, model text, tin bigint, tout bigint,
        method text, path text)
    LEFT JOIN api_keys AS k ON k.key_hash = decode(r.key, 'hex') AND (k.revoked_at IS NULL OR k.revoked_at > r.at)
), held AS (
    INSERT INTO holds (id, user_id, started_at, expires_at, model_id, tokens_in, tokens_out, method, path)
    SELECT a.id, a.user_id, a.at, a.until, a.model, a.tin, a.tout, a.method, a.path
    FROM asked AS a JOIN customers AS c ON c.user_id = a.user_id AND c.status = 'active'
        AND c.access IS DISTINCT FROM 'suspended'
    ON CONFLICT (id) DO NOTHING
)
""" + _ACCOUNTS.format(asked="asked")  # noqa: S608 # both texts are ours

_LOOK_UP = _ACCOUNTS.format(asked="json_to_recordset(%s::json)").replace(
    " AS a\n", " AS a(n int, user_id text, at timestamptz)\n", 1
)

_STANDING = """
SELECT u.version, greatest(u.spent, u.cost_units), u.tokens, h.id, h.model_id, h.tokens_in, h.tokens_out, h.expires_at
FROM customers AS c
LEFT JOIN usage_periods AS u ON u.user_id = c.user_id AND u.period_start = %s
LEFT JOIN holds AS h ON h.user_id = c.user_id
WHERE c.user_id = %s
"""

_TARIFF = "SELECT tariff FROM plan_versions WHERE plan_id = %s AND version = %s"


class AccountReader:
    """Reads accounts; what cannot change (tariffs by version) and what was parsed before (plan rows) is remembered."""

    def __init__(self) -> None:
        self._tariffs: dict[tuple[str, int], Tariff] = {}
        self._plans: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()

    async def gate(self, connection: psycopg.AsyncConnection[Any], asks: Sequence[Ask]) -> list[Account | Exception]:
        """Accounts for the asks, in order, with a hold stored for each active customer; `CustomerUnknown` in its place."""
        rows = [
            {
                "n": n,
                "id": str(ask.hold_id),
                "key": None if ask.key_hash is None else ask.key_hash.hex(),
                "named": ask.user_id,
                "at": ask.at.isoformat(),
                "until": ask.expires_at.isoformat(),
                "model": ask.model_id,
                "tin": ask.tokens_in,
                "tout": ask.tokens_out,
                "method": ask.method,
                "path": ask.path,
            }
            for n, ask in enumerate(asks)
        ]
        return await self._accounts(connection, _GATE, rows, [ask.at for ask in asks])

    async def look_up(
        self, connection: psycopg.AsyncConnection[Any], events: Sequence[UsageEvent]
    ) -> list[Account | Exception]:
        """Accounts for events that came by another way than the gate, in order; no hold is stored."""
        rows = [{"n": n, "user_id": event.user_id, "at": event.timestamp.isoformat()} for n, event in enumerate(events)]
        return await self._accounts(connection, _LOOK_UP, rows, [event.timestamp for event in events])

    async def tariff(self, connection: psycopg.AsyncConnection[Any], plan_id: str, version: int) -> Tariff:
        """One version of a plan's tariff; versions never change, so each is read once."""
        key = (plan_id, version)
        if key not in self._tariffs:
            cursor = await connection.execute(_TARIFF, key)
            row = await cursor.fetchone()
            assert row is not None, "usage_periods refers to plan_versions"
            self._tariffs[key] = Tariff.from_json(row[0])
        return self._tariffs[key]

    async def _accounts(
        self,
        connection: psycopg.AsyncConnection[Any],
        statement: str,
        asked: list[dict[str, Any]],
        instants: Sequence[datetime],
    ) -> list[Account | Exception]:
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(statement, (orjson.dumps(asked).decode(),))
            rows = await cursor.fetchall()
        answers: list[Account | Exception] = [CustomerUnknown() for _ in instants]
        for row in rows:
            answers[row["n"]] = await self._account(connection, row, instants[row["n"]])
        return answers

    async def _account(self, connection: psycopg.AsyncConnection[Any], row: dict[str, Any], at: datetime) -> Account:
        if row["period_start"] is not None:
            period = Period(row["period_start"], row["period_end"])
            plan_id, version = row["tariff_plan_id"], row["tariff_version"]
        else:
            whole = period_of(row["billing_interval"], at, row["period_anchor"])
            period = cut(whole, at, row["trial_end"], row["closed_at"])
            plan_id, version = row["id"], version_for(period, _versions(row["versions"])).version
        tariff = await self.tariff(connection, plan_id, version)
        return Account(
            user_id=row["user_id"],
            status="suspended" if row["access"] == "suspended" and row["status"] == "active" else row["status"],
            plan=self._plan(row, plan_id, version, tariff),
            tariff_plan_id=plan_id,
            tariff_version=version,
            period=period,
            version=row["version"] or 0,
            tokens=int(row["tokens"] or 0),
            totals=_totals(row["totals"], tariff),
            spent=row["spent"] or 0,
            cost_units=row["cost_units"] or Decimal(0),
        )

    def _plan(self, row: dict[str, Any], tariff_plan: str, version: int, tariff: Tariff) -> Plan:
        """The plan in a row, the customer's own cap in it. Parsed once for the row's own values: an UPDATE is another plan."""
        if row["own_spend_cap"] is not None:
            row["spend_cap"] = row["own_spend_cap"]
        key = (tariff_plan, version, row["access"], *(row[column] for column in _PLAN_COLUMNS))
        plan = self._plans.get(key)
        if plan is None:
            plan = plan_from_row(row, tariff)
            if row["access"] == "throttled":
                plan = replace(plan, rate_limit=plan.throttled, throttle_limit=plan.throttled)
            self._plans[key] = plan
            if len(self._plans) > _PLANS_REMEMBERED:
                self._plans.popitem(last=False)
        return plan


_PLAN_COLUMNS = (
    "id", "name", "currency", "billing_interval", "spend_cap", "at_cap", "quota_tokens", "rate_limit", "throttle_limit",
    "collect", "unpriced", "hold_tokens", "upgrade_url", "on_unpaid",
)  # fmt: skip


def _totals(text: str | None, tariff: Tariff) -> Totals:
    """The totals, parsed only for a tariff by which they can make a difference."""
    if text is None or not (position_matters(tariff) or has_free_tokens(tariff)):
        return {}
    return totals_from_json(load_json(text))


def _versions(rows: list[tuple[int, str, bool, str | None]]) -> list[_Version]:
    instant = datetime.fromisoformat
    return [
        _Version(version, instant(applied), now, None if until is None else instant(until))
        for version, applied, now, until in rows
    ]


class Gate:
    """The gate of one process: every request that arrives while a read is under way shares the next one."""

    def __init__(self, url: str, schema: str | None, *, budget_seconds: float) -> None:
        self.reader = AccountReader()
        self._wire = Wire(url, schema, budget_seconds=budget_seconds, durable=False)
        self.ask: Grouped[Ask, Account] = Grouped(self._ask)
        self.drop: Grouped[UUID, bool] = Grouped(self._drop)

    async def standing(self, user_id: str, period_start: datetime) -> Standing:
        """One customer's spend and holds, both as of one instant."""

        async def read(connection: psycopg.AsyncConnection[Any]) -> Standing:
            cursor = await connection.execute(_STANDING, (period_start, user_id))
            rows = await cursor.fetchall()
            version, spend, tokens = rows[0][:3]
            holds = tuple(StoredHold(*row[3:]) for row in rows if row[3] is not None)
            return Standing(version or 0, spend or Decimal(0), int(tokens or 0), holds)

        return await self._wire.run(read)

    async def extend(self, holds: Sequence[UUID], until: datetime) -> None:
        """Keep the holds of requests that are still running."""

        async def write(connection: psycopg.AsyncConnection[Any]) -> None:
            await connection.execute("UPDATE holds SET expires_at = %s WHERE id = ANY(%s)", (until, list(holds)))

        await self._wire.run(write)

    def discard(self) -> None:
        """Let go of the connection without waiting."""
        self._wire.discard()

    async def idle(self) -> None:
        """Return once nothing is in flight."""
        await self.ask.idle()
        await self.drop.idle()

    async def _ask(self, asks: list[Ask]) -> list[Account | Exception]:
        return await self._wire.run(lambda connection: self.reader.gate(connection, asks))

    async def _drop(self, holds: list[UUID]) -> list[bool | Exception]:
        """Remove the holds of requests that were turned away."""

        async def write(connection: psycopg.AsyncConnection[Any]) -> list[bool | Exception]:
            await connection.execute("DELETE FROM holds WHERE id = ANY(%s)", (holds,))
            return [True] * len(holds)

        return await self._wire.run(write)

"""The gate's read: who is asking, on which plan, how much was used; and a hold for each, all in one statement.

The database is asked on every request, and says of a customer only what differs from what this process remembers: it compares
the versions of the three rows that decide (customer, plan, period) and sends nothing where they are the same.

The hold is stored before anybody decides on it, so that whoever rebuilds the counters knows of every request in flight, and
the close knows what to wait for. It is not fsynced on its own (`synchronous_commit=off`): losing the last instant of holds
together with a crash of the database loses no usage.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import psycopg
from psycopg.rows import dict_row

from tollkeeper.domain.account import Account, CustomerUnknown
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.notice import Notice
from tollkeeper.domain.period import Period, cut, period_of
from tollkeeper.domain.plan import Plan, version_for
from tollkeeper.domain.plan_part import WHOLE, part_at
from tollkeeper.domain.pricing import Position, Tariff, fine_of
from tollkeeper.domain.proration import for_part
from tollkeeper.grouping import Grouped
from tollkeeper.storage.database import load_json
from tollkeeper.storage.memory import Caller, Known, Memory, Stamps
from tollkeeper.storage.plan_parts import plan_parts_from_json
from tollkeeper.storage.plans import plan_from_row
from tollkeeper.storage.totals import totals_from_json
from tollkeeper.storage.wire import Wire

_PLANS_REMEMBERED = 1024


class Ask(NamedTuple):
    """One request at the gate, with the hold that it wants."""

    hold_id: UUID
    at: datetime
    expires_at: datetime
    caller: Caller
    model_id: str | None = None
    tokens_in: int = 0
    tokens_out: int | None = None
    method: str | None = None
    path: str | None = None


class Seen(NamedTuple):
    """A customer at the gate: as the database says at this instant, and what this process shares between its requests."""

    account: Account
    known: Known


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
    """What a customer's counters are rebuilt from."""

    version: int
    spend: int
    """Fine units."""
    tokens: int
    holds: tuple[StoredHold, ...]


# Where a customer stands at an instant; `asked` names the customers and the instants. Whatever decides an account lies in the
# three rows whose versions are compared. Where the period has no row yet, versions of the plan decide too: then it is read.
_ACCOUNTS = """
SELECT a.n, c.user_id, c.status, c.period_anchor, c.own_spend_cap, c.access, c.trial_end, c.closed_at, p.*,
       u.period_start, u.period_end, u.plan_id AS tariff_plan_id,
       u.plan_version AS tariff_version, u.version, u.revision, u.tokens, u.totals::text AS totals,
       u.spent, u.cost_units, u.plan_parts, c.xmin::text AS customer_stamp, p.xmin::text AS plan_stamp, u.stamp::text AS period_stamp,
       CASE WHEN u.period_start IS NULL THEN
           (SELECT json_agg(json_build_array(v.version, v.applied_at, v.immediate, v.until) ORDER BY v.version)
            FROM plan_versions AS v
            WHERE v.plan_id = p.id AND (v.user_id IS NULL OR (v.user_id = c.user_id AND v.purpose <> 'rating')))
       END AS versions
FROM {asked} AS a
LEFT JOIN customers AS c ON c.user_id = a.user_id
LEFT JOIN plans AS p ON p.id = c.plan_id
LEFT JOIN LATERAL (
    SELECT u.*, u.xmin AS stamp FROM usage_periods AS u
    WHERE u.user_id = c.user_id AND u.period_start <= a.at ORDER BY u.period_start DESC LIMIT 1
) AS u ON u.period_end > a.at
"""

_GATE = f"""
WITH asked AS (
    SELECT r.*, coalesce(k.user_id, r.named) AS user_id
    FROM json_to_recordset(%s::json) AS r(
        n int, id uuid, key text, named text, at timestamptz, until timestamptz, model text, tin bigint, tout bigint,
        method text, path text, su text, sc xid, sp xid, sx xid)
    LEFT JOIN api_keys AS k ON k.key_hash = decode(r.key, 'hex') AND (k.revoked_at IS NULL OR k.revoked_at > r.at)
), held AS (
    INSERT INTO holds (id, user_id, started_at, expires_at, model_id, tokens_in, tokens_out, method, path)
    SELECT a.id, a.user_id, a.at, a.until, a.model, a.tin, a.tout, a.method, a.path
    FROM asked AS a JOIN customers AS c ON c.user_id = a.user_id AND c.status = 'active'
        AND c.access IS DISTINCT FROM 'suspended'
    ON CONFLICT (id) DO NOTHING
)
{_ACCOUNTS.format(asked="asked")}
WHERE (c.user_id, c.xmin, p.xmin, u.stamp) IS DISTINCT FROM (a.su, a.sc, a.sp, a.sx)
"""  # noqa: S608 # both texts are ours

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
_PLAN = "SELECT * FROM plans WHERE id = %s"


class AccountReader:
    """Reads accounts; what cannot change (tariffs by version) and what was parsed before (plan rows) is remembered."""

    def __init__(self) -> None:
        self._tariffs: dict[tuple[str, int, Fraction], Tariff] = {}
        self._plans: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()

    async def look_up(
        self, connection: psycopg.AsyncConnection[Any], events: Sequence[UsageEvent]
    ) -> list[Account | Exception]:
        """Accounts for events that came by another way than the gate, in order; no hold is stored."""
        asked = [{"n": n, "user_id": event.user_id, "at": event.timestamp} for n, event in enumerate(events)]
        found: list[Account | Exception] = [CustomerUnknown() for _ in events]
        for row in await rows_of(connection, _LOOK_UP, asked):
            if row["user_id"] is not None:
                found[row["n"]] = await self.account(connection, row, events[row["n"]].timestamp)
        return found

    async def tariff(
        self, connection: psycopg.AsyncConnection[Any], plan_id: str, version: int, share: Fraction = WHOLE
    ) -> Tariff:
        """One version of a plan's tariff, or a share of it; versions never change, so each is read once."""
        key = (plan_id, version, share)
        if key not in self._tariffs:
            cursor = await connection.execute(_TARIFF, (plan_id, version))
            row = await cursor.fetchone()
            assert row is not None, "usage_periods refers to plan_versions"
            self._tariffs[key] = for_part(Tariff.from_json(row[0]), share)
        return self._tariffs[key]

    async def account(self, connection: psycopg.AsyncConnection[Any], row: dict[str, Any], at: datetime) -> Account:
        """The account in a row of `_ACCOUNTS`."""
        if row["plan_parts"] is not None:
            return await self._account_in_part(connection, row, at)
        if row["period_start"] is not None:
            period = Period(row["period_start"], row["period_end"])
            plan_id, version = row["tariff_plan_id"], row["tariff_version"]
        else:
            whole = period_of(row["billing_interval"], at, row["period_anchor"])
            period = cut(whole, at, row["trial_end"], row["closed_at"])
            plan_id, version = row["id"], version_for(period, _versions(row["versions"])).version
        tariff = await self.tariff(connection, plan_id, version)
        totals = totals_from_json(load_json(row["totals"] or "{}"))
        return Account(
            user_id=row["user_id"],
            status=_status(row),
            plan=self._plan(row, plan_id, version, tariff),
            tariff_plan_id=plan_id,
            tariff_version=version,
            period=period,
            position=Position(tariff, totals),
            version=row["version"] or 0,
            tokens=int(row["tokens"] or 0),
            totals=totals,
            spent=row["spent"] or 0,
            cost=fine_of(row["cost_units"] or 0),
        )

    async def _account_in_part(
        self, connection: psycopg.AsyncConnection[Any], row: dict[str, Any], at: datetime
    ) -> Account:
        """The account where the plan changes inside the period: tariff and position of the part, sums of the whole period.

        The limits are the plan's own, not a share of them, and before a change that is still to come the earlier plan's.
        """
        parts = plan_parts_from_json(row["plan_parts"])
        index = part_at(parts, at)
        part = parts[index]
        if index < len(parts) - 1:
            async with connection.cursor(row_factory=dict_row) as cursor:
                await cursor.execute(_PLAN, (part.plan_id,))
                row |= await cursor.fetchone() or {}
        whole = await self.tariff(connection, part.plan_id, part.plan_version)
        tariff = await self.tariff(connection, part.plan_id, part.plan_version, part.share)
        plan = self._plan(row, part.plan_id, part.plan_version, whole)
        return Account(
            user_id=row["user_id"],
            status=_status(row),
            plan=replace(plan, tariff=tariff, quota_tokens=plan.quota),
            tariff_plan_id=part.plan_id,
            tariff_version=part.plan_version,
            period=Period(row["period_start"], row["period_end"]),
            position=Position(tariff, part.totals),
            version=row["version"],
            tokens=int(row["tokens"]),
            totals=part.totals,
            spent=row["spent"],
            cost=fine_of(row["cost_units"]),
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


def _status(row: dict[str, Any]) -> str:
    return "suspended" if row["access"] == "suspended" and row["status"] == "active" else str(row["status"])


async def rows_of(
    connection: psycopg.AsyncConnection[Any], statement: str, asked: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What a statement with one list in JSON for its parameter returns, rows by column name."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, (orjson.dumps(asked).decode(),))
        return await cursor.fetchall()


def _versions(rows: list[tuple[int, str, bool, str | None]]) -> list[_Version]:
    instant = datetime.fromisoformat
    return [
        _Version(version, instant(applied), now, None if until is None else instant(until))
        for version, applied, now, until in rows
    ]


_TELL = """
INSERT INTO notices (kind, user_id, subject, payload, created_at) VALUES (%s, %s, %s, %s::jsonb, %s)
ON CONFLICT (subject) DO NOTHING
"""


class Gate:
    """The gate of one process: all requests of a batch share one statement."""

    def __init__(self, url: str, schema: str | None, memory: Memory, *, budget_seconds: float) -> None:
        self._reader = AccountReader()
        self._memory = memory
        self._wire = Wire(url, schema, budget_seconds=budget_seconds, durable=False, on_connect=memory.forget_stamps)
        self.drop: Grouped[UUID, bool] = Grouped(self._drop)

    async def ask(self, ask: Ask) -> Seen:
        """`ask_all` for one; what is in its place otherwise is raised."""
        [seen] = await self.ask_all([ask])
        if isinstance(seen, Exception):
            raise seen
        return seen

    async def ask_all(self, asks: Sequence[Ask]) -> list[Seen | Exception]:
        """Who is asking, in order, with a hold stored for each active customer; `CustomerUnknown` in a stranger's place."""
        return await self._wire.run(lambda connection: self._ask(connection, asks))

    async def standing(self, user_id: str, period_start: datetime) -> Standing:
        """One customer's spend and holds, both as of one instant."""

        async def read(connection: psycopg.AsyncConnection[Any]) -> Standing:
            cursor = await connection.execute(_STANDING, (period_start, user_id))
            rows = await cursor.fetchall()
            version, spend, tokens = rows[0][:3]
            holds = tuple(StoredHold(*row[3:]) for row in rows if row[3] is not None)
            return Standing(version or 0, fine_of(spend or 0), int(tokens or 0), holds)

        return await self._wire.run(read)

    async def extend(self, holds: Sequence[UUID], until: datetime) -> None:
        """Keep the holds of requests that are still running."""

        async def write(connection: psycopg.AsyncConnection[Any]) -> None:
            await connection.execute("UPDATE holds SET expires_at = %s WHERE id = ANY(%s)", (until, list(holds)))

        await self._wire.run(write)

    async def tell(self, notice: Notice, now: datetime) -> None:
        """Write a notice of something that is no usage; one that is there already is left alone."""

        async def write(connection: psycopg.AsyncConnection[Any]) -> None:
            payload = orjson.dumps(notice.payload).decode()
            await connection.execute(_TELL, (notice.kind, notice.user_id, notice.subject, payload, now))

        await self._wire.run(write)

    def discard(self) -> None:
        """Let go of the connection without waiting."""
        self._wire.discard()

    async def idle(self) -> None:
        """Return once nothing is in flight."""
        await self.drop.idle()

    async def _ask(self, connection: psycopg.AsyncConnection[Any], asks: Sequence[Ask]) -> list[Seen | Exception]:
        remembered = [self._believed(ask) for ask in asks]
        asked = [_row(n, ask, known) for n, (ask, known) in enumerate(zip(asks, remembered, strict=True))]
        differ = {row["n"]: row for row in await rows_of(connection, _GATE, asked)}
        found: list[Seen | Exception] = []
        for n, (ask, known) in enumerate(zip(asks, remembered, strict=True)):
            row = differ.get(n)
            if row is not None and row["user_id"] is not None:
                found.append(await self._read(connection, row, ask))
            elif row is None and known is not None:
                found.append(Seen(known.account, known))
            else:
                found.append(CustomerUnknown())
        return found

    def _believed(self, ask: Ask) -> Known | None:
        """What is known of the caller, if it can still be true at this instant."""
        known = self._memory.of(ask.caller)
        if known is None or known.stamps is None or known.stamps.connection != self._memory.connection:
            return None
        period = known.account.period
        return known if period.start <= ask.at < period.end else None

    async def _read(self, connection: psycopg.AsyncConnection[Any], row: dict[str, Any], ask: Ask) -> Seen:
        account = await self._reader.account(connection, row, ask.at)
        stamps = None
        # A plan that changes inside the period changes with the clock, too, and with no row: such a period is always read.
        if row["period_stamp"] is not None and row["plan_parts"] is None:
            stamps = Stamps(row["customer_stamp"], row["plan_stamp"], row["period_stamp"], self._memory.connection)
        return Seen(account, self._memory.keep(ask.caller, account, row["revision"] or 1, stamps))

    async def _drop(self, holds: list[UUID]) -> list[bool | Exception]:
        """Remove the holds of requests that were turned away."""

        async def write(connection: psycopg.AsyncConnection[Any]) -> list[bool | Exception]:
            await connection.execute("DELETE FROM holds WHERE id = ANY(%s)", (holds,))
            return [True] * len(holds)

        return await self._wire.run(write)


def _row(n: int, ask: Ask, known: Known | None) -> dict[str, Any]:
    caller = ask.caller
    row = {
        "n": n,
        "id": ask.hold_id,
        "at": ask.at,
        "until": ask.expires_at,
        "model": ask.model_id,
        "tin": ask.tokens_in,
        "tout": ask.tokens_out,
        "method": ask.method,
        "path": ask.path,
    }
    if isinstance(caller, bytes):
        row["key"] = caller.hex()
    else:
        row["named"] = caller
    if known is not None and known.stamps is not None:
        row["su"] = known.account.user_id
        row["sc"], row["sp"], row["sx"], _ = known.stamps
    return row

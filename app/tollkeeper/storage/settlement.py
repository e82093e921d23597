"""Storing usage: events, running totals, quota notices and the end of holds, for many requests in one durable commit.

The rows of `usage_periods` are locked first, in one order everywhere, so that what an event costs is computed from the very
totals that it is added to. An event's id makes the whole repeatable: after any doubt (a lost reply to a commit, a replayed
journal) the same events are offered again and those that are stored already are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from itertools import count
from typing import Any, Literal
from uuid import UUID

import orjson
import psycopg
from psycopg import errors
from psycopg.rows import dict_row

from tollkeeper.domain.account import Account
from tollkeeper.domain.errors import StoreUnavailable, TollkeeperError
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.notice import Notice, quota_notices, spend_cap_notices
from tollkeeper.domain.pricing.rating import running_cost, unpriced, usage_amount
from tollkeeper.domain.pricing.tariff import Tariff
from tollkeeper.domain.usage import Usage, quantities
from tollkeeper.storage.gate import AccountReader
from tollkeeper.storage.partitions import create_partition_sql, month_start, months_ahead
from tollkeeper.storage.totals import Sums, totals_from_json, totals_to_json
from tollkeeper.storage.usage_json import parts_from_json, parts_to_json
from tollkeeper.storage.wire import Wire

Key = tuple[str, datetime]
"""(user_id, period_start)"""


@dataclass(frozen=True, slots=True)
class Charge:
    """An event to store, with the account it was admitted on where the gate read one."""

    event: UsageEvent
    now: datetime
    """When it is stored, by the clock of this process."""
    account: Account | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of one event."""

    status: Literal["accepted", "duplicate", "conflict"]
    """`conflict`: the id was seen before with other content; what came first stays."""
    period_start: datetime
    version: int
    spent: Decimal
    """What counts against the cap after this, in minor units."""
    tokens: int
    """Tokens of the period after this."""
    cost_units: Decimal
    unpriced: bool = False


@dataclass(slots=True)
class _Ledger:
    """The row of one customer's period while a batch is added to it."""

    account: Account
    tariff: Tariff
    version: int
    revision: int
    totals: Sums
    tokens: int
    cost_units: Decimal
    spent: int
    made: bool = False
    """The row was not there before this batch."""
    stored: int = 0
    """How many events of this batch are in it, free ones too."""
    events: int = 0
    changed: bool = False
    tokens_before: int = field(init=False)
    spend_before: Decimal = field(init=False)

    def __post_init__(self) -> None:
        self.tokens_before = self.tokens
        self.spend_before = self.spend

    @property
    def spend(self) -> Decimal:
        """What counts against the cap."""
        return max(Decimal(self.spent), self.cost_units)

    def add(self, usage: Usage) -> tuple[Decimal, bool]:
        """Add one event's usage: what it costs at this position, and whether some of it has no price."""
        added = quantities(usage)
        cost = running_cost(self.tariff, self.totals, added)
        self.totals.add(added)
        self.tokens += usage.tokens_in + usage.tokens_out
        self.cost_units += cost
        self.events += 1
        self.changed = True
        return cost, any(True for _ in unpriced(self.tariff, added))

    def rated(self) -> None:
        """Bring the rounded bill up to date."""
        if self.changed:
            self.spent = usage_amount(self.tariff, self.totals)


class Settlement:
    """Stores usage events. `async with Settlement(url, schema) as settlement` for one that is closed at the end."""

    def __init__(self, url: str, schema: str | None = None, *, budget_seconds: float = 30.0) -> None:
        self._wire = Wire(url, schema, budget_seconds=budget_seconds, durable=True)
        self._reader = AccountReader()

    async def __aenter__(self) -> Settlement:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.discard()

    def discard(self) -> None:
        """Let go of the connection without waiting."""
        self._wire.discard()

    async def settle(
        self, events: Sequence[UsageEvent], *, now: datetime, look_up: bool = True
    ) -> list[Settled | Exception]:
        """Store events from outside the request path; answers in order, `CustomerUnknown` for one that nobody owns."""
        return await self.store([Charge(event, now) for event in events], look_up=look_up)

    async def store(self, charges: Sequence[Charge], *, look_up: bool = False) -> list[Settled | Exception]:
        """Store all charges in one transaction; an answer for each, in order.

        `look_up`: some may be stored already. Where they are not expected to be and are all the same, the database refuses
        the batch and it is offered again with a look. A charge that the database cannot take gets its own error, and the
        others are stored without it. Raises `StoreUnavailable`; then nothing is known, and the same call can be repeated.
        """
        tries = count()

        async def work(connection: psycopg.AsyncConnection[Any]) -> list[Settled | Exception]:
            return await self._store(connection, charges, look_up=look_up or next(tries) > 0)

        try:
            return await self._wire.run(work)
        except errors.UniqueViolation:
            return await self.store(charges, look_up=True)
        except (psycopg.Error, TollkeeperError) as error:
            if isinstance(error, StoreUnavailable):
                raise
            if isinstance(error, errors.CheckViolation) and "no partition" in str(error):
                await self._make_partitions(charges)
                return await self.store(charges, look_up=look_up)
            if len(charges) == 1:
                return [error]
            return [answer for charge in charges for answer in await self.store([charge], look_up=look_up)]

    async def _make_partitions(self, charges: Sequence[Charge]) -> None:
        months = {month_start(charge.event.timestamp) for charge in charges} | set(months_ahead(charges[0].now))

        async def work(connection: psycopg.AsyncConnection[Any]) -> None:
            for month in sorted(months):
                await connection.execute(create_partition_sql(month).encode())

        await self._wire.run(work)

    async def _store(
        self, connection: psycopg.AsyncConnection[Any], charges: Sequence[Charge], *, look_up: bool
    ) -> list[Settled | Exception]:
        async with connection.transaction():
            accounts = await self._accounts(connection, charges)
            ledgers = await self._lock(connection, accounts)
            known = await self._known(connection, charges) if look_up else {}
            rows: list[dict[str, Any]] = []
            answers: list[Settled | Exception] = []
            found_again: list[UUID] = []
            for charge, account in zip(charges, accounts, strict=True):
                if isinstance(account, Exception):
                    answers.append(account)
                    continue
                ledger = ledgers[account.user_id, account.period.start]
                seen = known.get(charge.event.id)
                if seen is _LOST and not _is_lost(charge.event):
                    found_again.append(charge.event.id)
                    seen = None
                if seen is None:
                    known[charge.event.id] = _content(charge.event)
                    answers.append(_add(ledger, charge, rows))
                else:
                    status: Literal["duplicate", "conflict"] = (
                        "duplicate" if seen in (_LOST, _content(charge.event)) else "conflict"
                    )
                    answers.append(Settled(status, account.period.start, ledger.version, Decimal(0), 0, Decimal(0)))
            for ledger in ledgers.values():
                ledger.rated()
            if found_again:
                await connection.execute(_FORGET_LOST, (found_again,))
            await self._write(connection, charges, ledgers, rows)
            await self._unmake(connection, ledgers)
        return [_with_spend(answer, account, ledgers) for answer, account in zip(answers, accounts, strict=True)]

    async def _unmake(self, connection: psycopg.AsyncConnection[Any], ledgers: dict[Key, _Ledger]) -> None:
        """Leave no period behind that holds nothing, where all that was offered for it was known already."""
        for (user_id, start), ledger in ledgers.items():
            if ledger.made and not ledger.stored:
                await connection.execute(_UNMAKE, (user_id, start))
                ledger.version = 0

    async def _accounts(
        self, connection: psycopg.AsyncConnection[Any], charges: Sequence[Charge]
    ) -> list[Account | Exception]:
        accounts: list[Account | Exception | None] = [charge.account for charge in charges]
        missing = [n for n, account in enumerate(accounts) if account is None]
        if missing:
            found = await self._reader.look_up(connection, [charges[n].event for n in missing])
            for n, account in zip(missing, found, strict=True):
                accounts[n] = account
        return [account for account in accounts if account is not None]

    async def _lock(
        self, connection: psycopg.AsyncConnection[Any], accounts: Sequence[Account | Exception]
    ) -> dict[Key, _Ledger]:
        """Lock the period rows concerned, made where missing; always in the same order, so that batches never deadlock."""
        known = [account for account in accounts if isinstance(account, Account)]
        by_key = {(account.user_id, account.period.start): account for account in known}
        wanted = [
            {
                "user_id": account.user_id,
                "period_start": account.period.start.isoformat(),
                "period_end": account.period.end.isoformat(),
                "plan_id": account.tariff_plan_id,
                "plan_version": account.tariff_version,
                "currency": account.plan.tariff.currency,
            }
            for _, account in sorted(by_key.items())
        ]
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_LOCK, (orjson.dumps(wanted).decode(),))
            rows = await cursor.fetchall()
        ledgers = {}
        for row in rows:
            key = (row["user_id"], row["period_start"])
            ledgers[key] = _Ledger(
                account=by_key[key],
                tariff=await self._reader.tariff(connection, row["plan_id"], row["plan_version"]),
                version=row["version"],
                revision=row["revision"],
                totals=totals_from_json(row["totals"]),
                tokens=int(row["tokens"]),
                cost_units=row["cost_units"],
                spent=row["spent"],
                made=row["made"],
            )
        return ledgers

    async def _known(
        self, connection: psycopg.AsyncConnection[Any], charges: Sequence[Charge]
    ) -> dict[UUID, tuple[Any, ...]]:
        cursor = await connection.execute(_KNOWN, ([charge.event.id for charge in charges],))
        return {
            row[0]: _LOST if row[-1] else (*row[1:-3], _plain(row[-3]), parts_from_json(row[-2]))
            for row in await cursor.fetchall()
        }

    async def _write(
        self,
        connection: psycopg.AsyncConnection[Any],
        charges: Sequence[Charge],
        ledgers: dict[Key, _Ledger],
        rows: list[dict[str, Any]],
    ) -> None:
        now = charges[0].now
        changed = {key: ledger for key, ledger in ledgers.items() if ledger.changed}
        periods = [
            {
                "user_id": user_id,
                "period_start": start.isoformat(),
                "events": ledger.events,
                "tokens": str(ledger.tokens),
                "totals": totals_to_json(ledger.totals),
                "cost_units": str(ledger.cost_units),
                "spent": ledger.spent,
            }
            for (user_id, start), ledger in changed.items()
        ]
        await connection.execute(
            _WRITE,
            {
                "events": orjson.dumps(rows).decode(),
                "periods": orjson.dumps(periods).decode(),
                "now": now,
                "holds": [charge.event.id for charge in charges],
            },
        )
        notices = [notice for ledger in changed.values() for notice in _notices(ledger, now)]
        if notices:
            as_json = json.dumps([asdict(notice) for notice in notices])  # tokens of a period can be past 64 bits
            await connection.execute(_NOTICE, {"notices": as_json, "now": now})


def _add(ledger: _Ledger, charge: Charge, rows: list[dict[str, Any]]) -> Settled:
    """Add one new event to its period and to the rows to insert."""
    event = charge.event
    cost, no_price = ledger.add(event.usage) if event.billable else (Decimal(0), False)
    rows.append(_row(event, ledger.revision, cost, unpriced=no_price))
    ledger.stored += 1
    return Settled("accepted", ledger.account.period.start, ledger.version, Decimal(0), 0, cost, no_price)


def _with_spend(
    answer: Settled | Exception, account: Account | Exception, ledgers: dict[Key, _Ledger]
) -> Settled | Exception:
    """The answer with the spend as it stands after the whole batch."""
    if isinstance(answer, Exception) or isinstance(account, Exception):
        return answer
    ledger = ledgers[account.user_id, account.period.start]
    return replace(answer, version=ledger.version, spent=ledger.spend, tokens=ledger.tokens)


def _notices(ledger: _Ledger, now: datetime) -> list[Notice]:
    """The thresholds that this batch crossed. A period that is over has none: its figures are a matter for the invoice."""
    if not ledger.account.period.contains(now):
        return []
    return [
        *quota_notices(ledger.account, ledger.tokens_before, ledger.tokens, ledger.spent),
        *spend_cap_notices(ledger.account, ledger.spend_before, ledger.spend),
    ]


def _row(event: UsageEvent, revision: int, cost: Decimal, *, unpriced: bool) -> dict[str, Any]:
    usage = event.usage
    return {
        "id": str(event.id),
        "user_id": event.user_id,
        "timestamp": event.timestamp.isoformat(),
        "model_id": usage.model_id,
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
        "cached_tokens_in": usage.cached_tokens_in,
        "cache_write_tokens_in": usage.cache_write_tokens_in,
        "reasoning_tokens_out": usage.reasoning_tokens_out,
        "compute_minutes": str(usage.compute_minutes),
        "cost_units": f"{cost:f}",
        "latency_ms": event.latency_ms,
        "status_code": event.status_code,
        "method": event.method,
        "path": event.path,
        "request_id": event.request_id,
        "estimated": event.estimated,
        "complete": event.complete,
        "units": {name: _number(quantity) for name, quantity in usage.units.items()},
        "parts": parts_to_json(usage),
        "usage_state": event.state,
        "unpriced": unpriced,
        "billable": event.billable,
        "revision": revision,
    }


def _content(event: UsageEvent) -> tuple[Any, ...]:
    """What makes two events of one id the same."""
    usage = event.usage
    return (
        event.user_id,
        event.timestamp,
        usage.model_id,
        usage.tokens_in,
        usage.tokens_out,
        usage.cached_tokens_in,
        usage.cache_write_tokens_in,
        usage.reasoning_tokens_out,
        usage.compute_minutes,
        _plain(usage.units),
        usage.parts,
    )


def _is_lost(event: UsageEvent) -> bool:
    """Whether the event says no more than that its request was lost: what the sweeper writes for an expired hold."""
    return (
        not event.billable
        and not event.complete
        and event.status_code is None
        and event.latency_ms is None
        and event.state == "not_reported"
    )


def _plain(units: Any) -> dict[str, Decimal]:
    return {name: Decimal(quantity) for name, quantity in units.items()}


def _number(quantity: Decimal) -> int | str:
    return int(quantity) if quantity == quantity.to_integral_value() else f"{quantity:f}"


_LOCK = """
INSERT INTO usage_periods (user_id, period_start, period_end, plan_id, plan_version, currency, version)
SELECT r.user_id, r.period_start, r.period_end, r.plan_id, r.plan_version, r.currency, 1
FROM json_to_recordset(%s::json) AS r(
    user_id text, period_start timestamptz, period_end timestamptz, plan_id text, plan_version int, currency text)
ON CONFLICT (user_id, period_start) DO UPDATE SET version = usage_periods.version + 1
RETURNING user_id, period_start, plan_id, plan_version, version, revision, totals, tokens, cost_units, spent,
    xmax = 0 AS made
"""

_LOST: tuple[Any, ...] = ("lost",)
"""The content of a row that the sweeper wrote. Whoever knows better takes its place: it carries no charge, so no sum moves."""

_WAS_LOST = """(
    NOT billable AND NOT complete AND status_code IS NULL AND latency_ms IS NULL AND usage_state = 'not_reported'
)"""

_UNMAKE = "DELETE FROM usage_periods WHERE user_id = %s AND period_start = %s"

_KNOWN = f"""
SELECT id, user_id, "timestamp", model_id, tokens_in, tokens_out, cached_tokens_in, cache_write_tokens_in,
       reasoning_tokens_out, compute_minutes, units, parts, {_WAS_LOST}
FROM usage_events WHERE id = ANY(%s)
"""  # noqa: S608 # both texts are ours

_FORGET_LOST = f"DELETE FROM usage_events WHERE id = ANY(%s) AND {_WAS_LOST}"  # noqa: S608 # the same

_WRITE = """
WITH stored AS (
    INSERT INTO usage_events (
        id, user_id, "timestamp", model_id, tokens_in, tokens_out, cached_tokens_in, cache_write_tokens_in,
        reasoning_tokens_out, compute_minutes, cost_units, latency_ms, status_code, method, path, request_id, estimated,
        complete, units, usage_state, unpriced, billable, revision, parts, recorded_at)
    SELECT e.id, e.user_id, e."timestamp", e.model_id, e.tokens_in, e.tokens_out, e.cached_tokens_in,
        e.cache_write_tokens_in, e.reasoning_tokens_out, e.compute_minutes, e.cost_units, e.latency_ms, e.status_code,
        e.method, e.path, e.request_id, e.estimated, e.complete, e.units, e.usage_state, e.unpriced, e.billable,
        e.revision, e.parts, %(now)s
    FROM json_to_recordset(%(events)s::json) AS e(
        id uuid, user_id text, "timestamp" timestamptz, model_id text, tokens_in bigint, tokens_out bigint,
        cached_tokens_in bigint, cache_write_tokens_in bigint, reasoning_tokens_out bigint, compute_minutes numeric,
        cost_units numeric, latency_ms int, status_code smallint, method text, path text, request_id text,
        estimated boolean, complete boolean, units jsonb, usage_state text, unpriced boolean, billable boolean,
        revision smallint, parts jsonb)
), moved AS (
    UPDATE usage_periods AS u
    SET events = u.events + r.events, tokens = r.tokens, totals = r.totals, cost_units = r.cost_units, spent = r.spent
    FROM json_to_recordset(%(periods)s::json) AS r(
        user_id text, period_start timestamptz, events bigint, tokens numeric, totals jsonb, cost_units numeric,
        spent bigint)
    WHERE u.user_id = r.user_id AND u.period_start = r.period_start
)
DELETE FROM holds WHERE id = ANY(%(holds)s)
"""

# Apart from the other, so that it costs nothing where nothing is crossed.
_NOTICE = """
WITH told AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(notices)s::json) AS r(kind text, user_id text, subject text, payload jsonb)
), alerted AS (
    INSERT INTO quota_alerts (user_id, period_start, period_end, threshold, quota_tokens, used_tokens, created_at)
    SELECT t.user_id, q.period_start, q.period_end, q.threshold, q.quota_tokens, q.used_tokens, %(now)s
    FROM told AS t, jsonb_to_record(t.payload) AS q(
        period_start timestamptz, period_end timestamptz, threshold smallint, quota_tokens bigint, used_tokens numeric)
    WHERE t.kind = 'quota.crossed' ON CONFLICT DO NOTHING
)
INSERT INTO notices (kind, user_id, subject, payload, created_at)
SELECT kind, user_id, subject, payload, %(now)s FROM told ON CONFLICT (subject) DO NOTHING
"""

"""Storing usage: events, running totals, quota notices and the end of holds, for many requests in one durable commit.

What an event costs depends on the totals that it is added to, so both are written together. There are two ways, and whoever
asks need not know which was taken. *At once*: where this process knows the totals, one statement writes new ones over the very
row version that they were computed from, and everything else with them; a customer whose row has changed meanwhile is left
alone, and goes the other way. *Under lock*: the rows of `usage_periods` are locked first, in one order everywhere, and read.

An event's id makes the whole repeatable: after any doubt (a lost reply to a commit, a replayed journal) the same events are
offered again, under lock, and those that are stored already are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from itertools import count
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson
import psycopg
from psycopg import errors

from tollkeeper.domain.account import Account
from tollkeeper.domain.errors import StoreUnavailable, TollkeeperError, UsageArchived
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.pricing import fine_of
from tollkeeper.domain.pricing.rating import unpriced as without_price
from tollkeeper.domain.refusal import ModelUnpriced
from tollkeeper.domain.usage import quantities
from tollkeeper.storage.gate import AccountReader, Seen, rows_of
from tollkeeper.storage.ledger import Ledger, PartedLedger
from tollkeeper.storage.memory import Known, Memory
from tollkeeper.storage.partitions import ARCHIVED, create_partition_sql, month_start, months_ahead
from tollkeeper.storage.plan_parts import plan_parts_from_json
from tollkeeper.storage.totals import totals_from_json
from tollkeeper.storage.usage_json import parts_from_json
from tollkeeper.storage.wire import Wire

Key = tuple[str, datetime]
"""(user_id, period_start)"""


class Charge(NamedTuple):
    """An event to store, with the customer as the gate saw them, where it did."""

    event: UsageEvent
    now: datetime
    """When it is stored, by the clock of this process."""
    seen: Seen | None = None
    refuse_unpriced: bool = False
    """Refuse it where the plan refuses what it has no price for; never for a request, which has run already."""


class Settled(NamedTuple):
    """What became of one event."""

    status: Literal["accepted", "duplicate", "conflict"]
    """`conflict`: the id was seen before with other content; what came first stays."""
    period_start: datetime
    version: int
    spent: int
    """What counts against the cap after this, in fine units."""
    tokens: int
    """Tokens of the period after this."""
    unpriced: bool = False


class Settlement:
    """Stores usage events. `async with Settlement(url, schema) as settlement` for one that is closed at the end."""

    def __init__(
        self, url: str, schema: str | None = None, memory: Memory | None = None, *, budget_seconds: float = 30.0
    ) -> None:
        self._memory = Memory() if memory is None else memory
        self._wire = Wire(
            url, schema, budget_seconds=budget_seconds, durable=True, on_connect=self._memory.forget_stamps
        )
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

    async def known(self, events: Sequence[UsageEvent]) -> dict[UUID, Settled]:
        """Of these events, those that are stored already, as `store` would answer them. Locks nothing, changes nothing."""

        async def work(connection: psycopg.AsyncConnection[Any]) -> dict[UUID, tuple[Any, ...]]:
            return await self._known(connection, [Charge(event, event.timestamp) for event in events])

        seen = await self._wire.run(work)
        return {
            event.id: Settled(
                "duplicate" if seen[event.id] == _content(event) else "conflict", event.timestamp, 0, 0, 0
            )
            for event in events
            if seen.get(event.id, _LOST) is not _LOST
        }

    async def store(self, charges: Sequence[Charge], *, look_up: bool = False) -> list[Settled | Exception]:
        """Store all charges; an answer for each, in order.

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
                if await self._make_partitions(charges):
                    return await self.store(charges, look_up=look_up)
                error = UsageArchived(charges[0].event.timestamp)  # of one at least; below they are told apart
            if len(charges) == 1:
                return [error]
            return [answer for charge in charges for answer in await self.store([charge], look_up=look_up)]

    async def _make_partitions(self, charges: Sequence[Charge]) -> bool:
        """Make the months that are missing; False where one of them is archived, and takes no usage any more."""
        months = {month_start(charge.event.timestamp) for charge in charges} | set(months_ahead(charges[0].now))

        async def work(connection: psycopg.AsyncConnection[Any]) -> None:
            for month in sorted(months):
                await connection.execute(create_partition_sql(month).encode())

        try:
            await self._wire.run(work)
        except errors.CheckViolation as error:
            if error.diag.constraint_name != ARCHIVED:
                raise
            return False
        return True

    async def _store(
        self, connection: psycopg.AsyncConnection[Any], charges: Sequence[Charge], *, look_up: bool
    ) -> list[Settled | Exception]:
        if look_up:
            return await self._under_lock(connection, charges, look_up=True)
        answers = await self._at_once(connection, charges)
        left = [n for n, answer in enumerate(answers) if answer is None]
        if left:
            for n, answer in zip(
                left, await self._under_lock(connection, [charges[n] for n in left], look_up=False), strict=True
            ):
                answers[n] = answer
        return [answer for answer in answers if answer is not None]

    # -- at once -----------------------------------------------------------------------------------------------------

    async def _at_once(
        self, connection: psycopg.AsyncConnection[Any], charges: Sequence[Charge]
    ) -> list[Settled | Exception | None]:
        """Store what can be stored by what this process knows; None for what is to be stored under lock."""
        written: dict[Key, tuple[Ledger, Known]] = {}
        unpriced: list[tuple[Key, bool] | None] = []
        for charge in charges:
            known = self._believed(charge)
            if charge.seen is None or known is None:
                unpriced.append(None)
                continue
            key = (known.account.user_id, known.account.period.start)
            if key not in written:
                written[key] = (Ledger.of_known(charge.seen.account, known), known)
            unpriced.append((key, written[key][0].add(charge.event)))
        now = charges[0].now
        for ledger, _ in written.values():
            ledger.rated()
        # Notices are seldom, and written with the rest of what is seldom.
        quiet = [pair for pair in written.values() if not pair[0].notices(now)]
        stored = await self._write_over(connection, quiet, now) if quiet else frozenset()
        answers: list[Settled | Exception | None] = []
        for found in unpriced:
            if found is None or found[0] not in stored:
                answers.append(None)
            else:
                ledger = written[found[0]][0]
                answers.append(
                    Settled("accepted", ledger.key[1], ledger.version, ledger.spend, ledger.tokens, found[1])
                )
        return answers

    def _believed(self, charge: Charge) -> Known | None:
        """What is known of the charge's customer, if it can still be true of the period that it belongs to."""
        if charge.seen is None:
            return None
        account, known = charge.seen
        stamps = known.stamps
        if stamps is None or stamps.connection != self._memory.connection:
            return None
        return known if known.account.period.start == account.period.start else None

    async def _write_over(
        self, connection: psycopg.AsyncConnection[Any], pairs: list[tuple[Ledger, Known]], now: datetime
    ) -> set[Key]:
        """Write the periods whose row is still the version that is known; their keys."""
        # In one order everywhere, so that two batches seldom wait for each other crosswise.
        ordered = sorted(pairs, key=lambda pair: pair[0].key)
        periods, events = [], []
        for n, (ledger, known) in enumerate(ordered):
            assert known.stamps is not None, "believed"
            periods.append(ledger.period() | {"n": n, "was": known.stamps.period})
            events += [row | {"n": n} for row in ledger.rows]
        before = self._memory.connection
        cursor = await connection.execute(
            _WRITE_OVER,
            {"events": orjson.dumps(events).decode(), "periods": orjson.dumps(periods).decode(), "now": now},
        )
        stamps = dict(await cursor.fetchall())
        for n, (ledger, known) in enumerate(ordered):
            stamp = stamps.get(n)
            if stamp is None:
                known.stamps = None
            elif known.stamps is not None:
                known.account = ledger.account(known.account)
                known.stamps = known.stamps._replace(period=stamp, connection=before)
        return {ordered[n][0].key for n in stamps}

    # -- under lock --------------------------------------------------------------------------------------------------

    async def _under_lock(
        self, connection: psycopg.AsyncConnection[Any], charges: Sequence[Charge], *, look_up: bool
    ) -> list[Settled | Exception]:
        async with connection.transaction():
            accounts = await self._accounts(connection, charges)
            ledgers, made = await self._lock(connection, accounts)
            known = await self._known(connection, charges) if look_up else {}
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
                status: Literal["accepted", "duplicate", "conflict"] = "accepted"
                unpriced = False
                if seen is None and charge.refuse_unpriced and _lacks_price(account, charge.event):
                    answers.append(ModelUnpriced(charge.event.usage.model_id))
                    continue
                if seen is None:
                    known[charge.event.id] = _content(charge.event)
                    unpriced = ledger.add(charge.event)
                else:
                    status = "duplicate" if seen in (_LOST, _content(charge.event)) else "conflict"
                answers.append(Settled(status, account.period.start, 0, 0, 0, unpriced))
            for ledger in ledgers.values():
                ledger.rated()
            if found_again:
                await connection.execute(_FORGET_LOST, (found_again,))
            await self._write(connection, charges, ledgers)
            await self._unmake(connection, [ledgers[key] for key in made])
        return [_with_spend(answer, account, ledgers) for answer, account in zip(answers, accounts, strict=True)]

    async def _unmake(self, connection: psycopg.AsyncConnection[Any], made: Sequence[Ledger]) -> None:
        """Leave no period behind that holds nothing, where all that was offered for it was known already."""
        for ledger in made:
            if not ledger.rows:
                await connection.execute(_UNMAKE, ledger.key)
                ledger.version = 0

    async def _accounts(
        self, connection: psycopg.AsyncConnection[Any], charges: Sequence[Charge]
    ) -> list[Account | Exception]:
        accounts: list[Account | Exception | None] = [
            None if charge.seen is None else charge.seen.account for charge in charges
        ]
        missing = [n for n, account in enumerate(accounts) if account is None]
        if missing:
            found = await self._reader.look_up(connection, [charges[n].event for n in missing])
            for n, account in zip(missing, found, strict=True):
                accounts[n] = account
        return [account for account in accounts if account is not None]

    async def _lock(
        self, connection: psycopg.AsyncConnection[Any], accounts: Sequence[Account | Exception]
    ) -> tuple[dict[Key, Ledger], list[Key]]:
        """Lock the period rows concerned, made where missing; always in the same order, so that batches never deadlock."""
        known = [account for account in accounts if isinstance(account, Account)]
        by_key = {(account.user_id, account.period.start): account for account in known}
        wanted = [
            {
                "user_id": account.user_id,
                "period_start": account.period.start,
                "period_end": account.period.end,
                "plan_id": account.tariff_plan_id,
                "plan_version": account.tariff_version,
                "currency": account.plan.tariff.currency,
            }
            for _, account in sorted(by_key.items())
        ]
        ledgers, made = {}, []
        for row in await rows_of(connection, _LOCK, wanted):
            key = (row["user_id"], row["period_start"])
            ledgers[key] = await self._ledger(connection, by_key[key], row)
            if row["made"]:
                made.append(key)
        return ledgers, made

    async def _ledger(self, connection: psycopg.AsyncConnection[Any], account: Account, row: dict[str, Any]) -> Ledger:
        totals, cost = totals_from_json(row["totals"]), fine_of(row["cost_units"])
        if row["plan_parts"] is None:
            tariff = await self._reader.tariff(connection, row["plan_id"], row["plan_version"])
            return Ledger.of_row(account, tariff, row, totals, cost)
        parts = [
            (part, await self._reader.tariff(connection, part.plan_id, part.plan_version, part.share))
            for part in plan_parts_from_json(row["plan_parts"])
        ]
        return PartedLedger.of_parts(account, parts, row, totals, cost)

    async def _known(
        self, connection: psycopg.AsyncConnection[Any], charges: Sequence[Charge]
    ) -> dict[UUID, tuple[Any, ...]]:
        cursor = await connection.execute(_KNOWN, ([charge.event.id for charge in charges],))
        return {
            row[0]: _LOST if row[-1] else (*row[1:-3], _plain(row[-3]), parts_from_json(row[-2]))
            for row in await cursor.fetchall()
        }

    async def _write(
        self, connection: psycopg.AsyncConnection[Any], charges: Sequence[Charge], ledgers: dict[Key, Ledger]
    ) -> None:
        now = charges[0].now
        rows = [row for ledger in ledgers.values() for row in ledger.rows]
        changed = [ledger for ledger in ledgers.values() if ledger.events]
        await connection.execute(
            _WRITE,
            {
                "events": orjson.dumps(rows).decode(),
                "periods": orjson.dumps([ledger.period() for ledger in changed]).decode(),
                "now": now,
                "holds": [charge.event.id for charge in charges],
            },
        )
        notices = [notice for ledger in changed for notice in ledger.notices(now)]
        if notices:
            as_json = json.dumps([asdict(notice) for notice in notices])  # tokens of a period can be past 64 bits
            await connection.execute(_NOTICE, {"notices": as_json, "now": now})


def _lacks_price(account: Account, event: UsageEvent) -> bool:
    """Whether the customer's plan refuses the event, because some of it has no price."""
    if account.plan.unpriced != "refuse" or not event.billable:
        return False
    return any(True for _ in without_price(account.plan.tariff, quantities(event.usage)))


def _with_spend(
    answer: Settled | Exception, account: Account | Exception, ledgers: dict[Key, Ledger]
) -> Settled | Exception:
    """The answer with the spend as it stands after the whole batch."""
    if isinstance(answer, Exception) or isinstance(account, Exception):
        return answer
    ledger = ledgers[account.user_id, account.period.start]
    return answer._replace(version=ledger.version, spent=ledger.spend, tokens=ledger.tokens)


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


_LOCK = """
INSERT INTO usage_periods (user_id, period_start, period_end, plan_id, plan_version, currency, version)
SELECT r.user_id, r.period_start, r.period_end, r.plan_id, r.plan_version, r.currency, 1
FROM json_to_recordset(%s::json) AS r(
    user_id text, period_start timestamptz, period_end timestamptz, plan_id text, plan_version int, currency text)
ON CONFLICT (user_id, period_start) DO UPDATE SET version = usage_periods.version + 1
RETURNING user_id, period_start, plan_id, plan_version, version, revision, totals, tokens, cost_units, spent,
    plan_parts, xmax = 0 AS made
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

_INSERT_EVENTS = """
    INSERT INTO usage_events (
        id, user_id, "timestamp", model_id, tokens_in, tokens_out, cached_tokens_in, cache_write_tokens_in,
        reasoning_tokens_out, compute_minutes, cost_units, latency_ms, status_code, method, path, request_id, estimated,
        complete, units, usage_state, unpriced, billable, revision, parts, recorded_at)
    SELECT e.id, e.user_id, e."timestamp", e.model_id, e.tokens_in, e.tokens_out, e.cached_tokens_in,
        e.cache_write_tokens_in, e.reasoning_tokens_out, e.compute_minutes, e.cost_units, e.latency_ms, e.status_code,
        e.method, e.path, e.request_id, e.estimated, e.complete, e.units, e.usage_state, e.unpriced, e.billable,
        e.revision, e.parts, %(now)s
    FROM json_to_recordset(%(events)s::json) AS e(
        n int, id uuid, user_id text, "timestamp" timestamptz, model_id text, tokens_in bigint, tokens_out bigint,
        cached_tokens_in bigint, cache_write_tokens_in bigint, reasoning_tokens_out bigint, compute_minutes numeric,
        cost_units numeric, latency_ms int, status_code smallint, method text, path text, request_id text,
        estimated boolean, complete boolean, units jsonb, usage_state text, unpriced boolean, billable boolean,
        revision smallint, parts jsonb)
"""

_PERIODS = """json_to_recordset(%(periods)s::json) AS r(
        n int, was xid, user_id text, period_start timestamptz, events bigint, tokens numeric, totals jsonb,
        cost_units numeric, spent bigint, plan_parts jsonb)"""

_WRITE = f"""
WITH stored AS ({_INSERT_EVENTS}
), moved AS (
    UPDATE usage_periods AS u
    SET events = u.events + r.events, tokens = r.tokens, totals = r.totals, cost_units = r.cost_units, spent = r.spent,
        plan_parts = coalesce(r.plan_parts, u.plan_parts)
    FROM {_PERIODS}
    WHERE u.user_id = r.user_id AND u.period_start = r.period_start
)
DELETE FROM holds WHERE id = ANY(%(holds)s)
"""  # noqa: S608 # both texts are ours

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

# A row whose version is another one is left alone, with all that belongs to it; the others are stored. An update that waits for
# somebody else's looks at the version again when that is committed.
_WRITE_OVER = f"""
WITH moved AS (
    UPDATE usage_periods AS u
    SET version = u.version + 1, events = u.events + r.events, tokens = r.tokens, totals = r.totals,
        cost_units = r.cost_units, spent = r.spent
    FROM {_PERIODS}
    WHERE u.user_id = r.user_id AND u.period_start = r.period_start AND u.xmin = r.was
    RETURNING r.n, u.xmin::text AS stamp
), stored AS ({_INSERT_EVENTS}
    WHERE e.n IN (SELECT n FROM moved)
    RETURNING id
), ended AS (
    DELETE FROM holds WHERE id IN (SELECT id FROM stored)
)
SELECT n, stamp FROM moved
"""  # noqa: S608 # all texts are ours

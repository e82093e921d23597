"""PostgreSQL loses an answer, hangs, fills its disk, turns read-only or is killed: nothing is lost, nothing counts twice."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import Sequence
from datetime import timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from faults.conftest import CHAT, REDIS_BUDGET, SLACK, STORE_BUDGET, Site, run, stopped
from faults.proxy import Proxy
from integration.metering.apps import answering, chat_answer
from integration.metering.conftest import NOW, Answer, App, ask, closed
from tollkeeper import Settings
from tollkeeper.domain.errors import StoreUnavailable
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.usage import Usage
from tollkeeper.services import journaling
from tollkeeper.services.inspecting import inspect
from tollkeeper.services.journaling import Journal
from tollkeeper.storage.settlement import Settlement
from tollkeeper.storage.wire import Wire
from tollkeeper.testing.clock import FrozenClock

WAIT_OVER = 0.6
"""The store is left alone for half a second after a failure."""


async def named(middleware: App, key: str, name: str, body: Any = CHAT) -> Answer:
    return await ask(middleware, key, body, headers={"x-request-id": name})


@pytest.mark.parametrize(("statement", "nth"), [(b"COMMIT", 0), (b"WITH moved", 1)])
@pytest.mark.parametrize("hangs", [False, True])
def test_a_commit_whose_answer_is_lost_counts_once(site: Site, hangs: bool, statement: bytes, nth: int) -> None:
    # A customer's first request in a period is stored under lock, the next ones at once.
    site.desk.plan('spend_cap = "10.00"')
    key = site.desk.customer("alice")

    async def day() -> list[int]:
        async with Proxy(site.database_url) as proxy:
            proxy.hang_after_losing = hangs
            middleware = site.mounted(database_url=proxy.url)
            statuses = []
            for n in range(3):
                if n == nth:
                    proxy.lose_reply_to = statement
                statuses.append((await named(middleware, key, str(n))).status)
                if n == nth:
                    assert proxy.lost == 1
                    await asyncio.sleep(WAIT_OVER)
            await closed(middleware)
            return statuses

    assert asyncio.run(day()) == [200, 200, 200]
    site.replay()  # a machine that is busy may take longer than a budget
    assert sorted(site.request_ids()) == ["0", "1", "2"]
    assert site.period()["spent"] == 3
    site.sums_agree()


@pytest.mark.parametrize(
    ("statement", "nth"),
    [
        *((statement, 0) for statement in (b"WITH asked", b"INSERT INTO usage_periods", b"WITH stored", b"COMMIT")),
        *((statement, 1) for statement in (b"WITH asked", b"WITH moved")),
    ],
)
def test_an_answer_that_is_cut_in_half_counts_once(site: Site, statement: bytes, nth: int) -> None:
    site.desk.plan('spend_cap = "10.00"')
    key = site.desk.customer("alice")

    async def day() -> None:
        async with Proxy(site.database_url) as proxy:
            middleware = site.mounted(database_url=proxy.url)
            await named(middleware, site.desk.customer("bob"), "before")  # a connection that is new is not tried twice
            for n in range(3):
                if n == nth:
                    proxy.cut_reply_to = statement
                assert (await named(middleware, key, str(n))).status == 200
            assert proxy.lost == 1
            await closed(middleware)

    asyncio.run(day())
    site.replay()
    assert sorted(site.request_ids()) == ["0", "1", "2", "before"]
    site.sums_agree()


@pytest.mark.parametrize("setting", ["open", "closed"])
def test_a_failover_to_a_server_that_only_reads_is_ridden_out(site: Site, setting: str) -> None:
    site.desk.plan('spend_cap = "10.00"')
    key = site.desk.customer("alice")
    middleware = site.mounted(on_store_down=setting)

    def only_reads(value: str) -> None:
        with psycopg.connect(site.own.database_url, autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}".encode())
            connection.execute("SELECT pg_reload_conf()")
        time.sleep(0.1)

    async def day() -> list[int]:
        statuses = [(await named(middleware, key, "before")).status]
        only_reads("on")
        try:
            statuses.append((await named(middleware, key, "meanwhile")).status)
        finally:
            only_reads("off")
        await asyncio.sleep(WAIT_OVER)
        statuses.append((await named(middleware, key, "after")).status)
        return statuses

    served = setting == "open"
    assert run(middleware, day) == [200, 200 if served else 503, 200]
    assert sorted(site.request_ids()) == ["after", "before", *(["meanwhile"] if served else [])]
    site.sums_agree()


def test_a_single_hung_backend_costs_one_request_its_budget_and_the_next_one_nothing(site: Site) -> None:
    site.desk.plan('spend_cap = "10.00"')
    key = site.desk.customer("alice")
    middleware = site.mounted()
    budgets = 2 * STORE_BUDGET + REDIS_BUDGET

    async def day() -> list[float]:
        took = []
        await named(middleware, key, "before")
        with stopped(*site.backends()):
            for name in ("hung", "next"):
                began = time.monotonic()
                assert (await named(middleware, key, name)).status == 200
                took.append(time.monotonic() - began)
                await asyncio.sleep(WAIT_OVER)
        await asyncio.sleep(0.1)
        return took

    hung, following = run(middleware, day)
    site.replay()
    site.sweep()  # what the hung backend did when it went on: a hold for a request that was over
    assert hung < budgets + SLACK
    assert following < SLACK
    assert sorted(site.request_ids()) == ["before", "hung", "next"]
    site.sums_agree()


def test_a_request_that_is_turned_away_while_the_gate_hangs_never_becomes_a_row(site: Site) -> None:
    site.desk.plan('spend_cap = "10.00"')
    key = site.desk.customer("alice")
    middleware = site.mounted(on_store_down="closed")

    async def day() -> int:
        await named(middleware, key, "before")
        site.own.postgres.pause()
        try:
            return (await named(middleware, key, "turned away")).status
        finally:
            site.own.postgres.resume()
            await asyncio.sleep(WAIT_OVER)  # meanwhile the server does what it was sent before it stood still

    assert run(middleware, day) == 503
    site.sweep()
    assert site.request_ids() == ["before"]


def test_a_request_that_is_cancelled_at_the_gate_leaves_neither_hold_nor_row(site: Site) -> None:
    site.desk.plan('spend_cap = "10.00"')
    key = site.desk.customer("alice")
    middleware = site.mounted()

    async def day() -> None:
        await named(middleware, key, "before")
        for wait in (0, 0.001, 0.002, 0.003, 0.005):
            request = asyncio.create_task(ask(middleware, key, CHAT))
            await asyncio.sleep(wait)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)

    run(middleware, day)
    assert site.desk.rows("SELECT id FROM holds") == []
    with site.counters() as counters:
        [state] = [
            counters.hgetall(key)
            for key in counters.keys("tk:*")
            if counters.type(key) == "hash" and counters.hget(key, "ready")
        ]
    assert state["held"] == "0"


def test_a_deadlock_is_retried_until_it_is_none(site: Site) -> None:
    site.desk.plan()
    names = ["alice", "bob"]
    for name in names:
        site.desk.customer(name)
    site.desk.run("ALTER DATABASE site SET deadlock_timeout = '300ms'")

    async def day() -> list[Any]:
        async with Settlement(site.database_url, budget_seconds=10) as settlement:
            await settlement.settle([event(name) for name in names], now=NOW)
            async with await psycopg.AsyncConnection.connect(site.database_url) as other:
                await other.execute("SET deadlock_timeout = '20s'")
                lock = "UPDATE usage_periods SET version = version + 1 WHERE user_id = %s"
                await other.execute(lock, ("bob",))
                settling = asyncio.create_task(settlement.settle([event(name) for name in names], now=NOW))
                await asyncio.sleep(0.1)
                await other.execute(lock, ("alice",))
                await other.commit()
            return list(await settling)

    answers = asyncio.run(day())
    assert [answer.status for answer in answers] == ["accepted", "accepted"]
    [found] = site.desk.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = 'site'")
    assert found["deadlocks"] == 1
    assert site.desk.rows("SELECT events FROM usage_periods") == [{"events": 2}, {"events": 2}]


def test_work_that_others_cross_again_and_again_is_begun_anew_on_the_same_connection(site: Site) -> None:
    backends = []

    async def crossed(connection: psycopg.AsyncConnection[Any]) -> None:
        backends.append(connection.info.backend_pid)
        if len(backends) < 3:
            code = ("40P01", "40001")[len(backends) % 2]
            await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'crossed' USING ERRCODE = '{code}'; END $$".encode())

    async def day() -> None:
        wire = Wire(site.database_url, None, budget_seconds=5, durable=True)
        await wire.run(crossed)
        wire.discard()

    asyncio.run(day())
    assert len(backends) == 3
    assert len(set(backends)) == 1


def test_serialization_failures_are_retried_and_every_event_counts_once(site: Site) -> None:
    site.desk.plan('spend_cap = "10.00"')
    key = site.desk.customer("alice")
    site.desk.run("ALTER DATABASE site SET default_transaction_isolation = 'serializable'")
    processes = [site.mounted(store_budget_ms=5000) for _ in range(3)]

    async def day() -> list[int]:
        asked = [named(middleware, key, f"{n} {m}") for n in range(10) for m, middleware in enumerate(processes)]
        statuses = [answer.status for answer in await asyncio.gather(*asked)]
        for middleware in processes:
            await closed(middleware)
        return statuses

    assert asyncio.run(day()) == [200] * 30
    site.replay()
    assert len(set(site.request_ids())) == 30
    assert site.period()["events"] == 30
    site.sums_agree()


def test_a_full_disk_sends_usage_to_the_journal(site: Site) -> None:
    site.desk.plan('spend_cap = "10.00"')
    key = site.desk.customer("alice")
    middleware = site.mounted()
    site.desk.run(
        """
        CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
        END $$
        """
    )

    async def day() -> None:
        await named(middleware, key, "before")
        for table in ("usage_events", "holds"):
            site.desk.run(
                f"CREATE TRIGGER full_disk BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION full_disk()"
            )
        assert (await named(middleware, key, "full")).status == 200
        assert len(list(site.journal.glob("*.jsonl"))) == 1
        for table in ("usage_events", "holds"):
            site.desk.run(f"DROP TRIGGER full_disk ON {table}")
        await asyncio.sleep(WAIT_OVER)
        assert (await named(middleware, key, "after")).status == 200

    run(middleware, day)
    assert sorted(site.request_ids()) == ["after", "before", "full"]
    site.sums_agree()


def test_everything_acknowledged_is_there_after_postgresql_was_killed_under_load(site: Site) -> None:
    site.desk.plan('spend_cap = "10000.00"')
    key = site.desk.customer("alice")
    middleware = site.mounted()
    acknowledged: list[str] = []

    async def client(until: asyncio.Event) -> None:
        while not until.is_set():
            name = str(uuid4())
            answer = await named(middleware, key, name)
            if answer.status == 200 and answer.complete:
                acknowledged.append(name)
            await asyncio.sleep(0.001)

    async def day() -> None:
        until = asyncio.Event()
        clients = [asyncio.create_task(client(until)) for _ in range(8)]
        await asyncio.sleep(1)
        await asyncio.to_thread(site.own.postgres.kill)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(site.own.postgres.restart)
        await asyncio.sleep(1)
        until.set()
        await asyncio.gather(*clients)

    run(middleware, day)
    site.replay()
    stored = site.request_ids()
    assert len(acknowledged) > 100
    assert not (site.journal / "refused").exists()
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))
    site.sweep()
    site.sums_agree()


def test_many_requests_at_once_share_a_journal_without_mixing_their_lines(site: Site) -> None:
    site.desk.plan()
    key = site.desk.customer("alice")

    async def day() -> None:
        async with Proxy(site.database_url) as proxy:
            middleware = site.mounted(database_url=proxy.url)
            await named(middleware, key, "first")
            proxy.refuse()
            answers = await asyncio.gather(*[named(middleware, key, f"r{n}") for n in range(100)])
            assert [answer.status for answer in answers] == [200] * 100
            await closed(middleware)

    asyncio.run(day())
    [journal] = site.journal.glob("*.jsonl")
    assert {json.loads(line)["request_id"] for line in journal.read_text().splitlines()} == {
        f"r{n}" for n in range(100)
    }
    assert site.replay() == 100
    assert site.period()["events"] == 101


def test_a_journal_is_written_and_handed_over_from_many_threads_without_losing_a_line(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(site.journal)
    keep_names = journaling.keep_names

    def slowly(folder: Path) -> None:
        time.sleep(0.005)
        keep_names(folder)

    # On a slow disk two threads have time to find that there is no file yet.
    monkeypatch.setattr(journaling, "keep_names", slowly)
    found: list[str] = []

    async def settle(events: Sequence[UsageEvent]) -> None:
        found.extend(str(event.id) for event in events)

    async def day() -> None:
        writes = [asyncio.to_thread(journal.append, [event("alice")]) for _ in range(60)]
        hands = [asyncio.to_thread(journal.hand_over) for _ in range(20)]
        await asyncio.gather(*(call for pair in zip_longest(writes, hands) for call in pair if call is not None))
        journal.hand_over()
        # A file that somebody still holds is not taken.
        await journaling.replay(site.journal, settle)

    asyncio.run(day())
    assert len(set(found)) == 60


def test_what_an_earlier_process_left_in_the_journal_is_brought_in_by_the_next_request(site: Site) -> None:
    site.desk.plan()
    key = site.desk.customer("alice")
    left = Journal(site.journal)
    left.append([event("alice"), event("alice")])
    left.hand_over()
    middleware = site.mounted()

    run(middleware, lambda: named(middleware, key, "next"))
    assert site.period()["events"] == 3
    assert list(site.journal.glob("*.jsonl")) == []


def test_an_event_that_the_database_refuses_is_kept_for_a_person_and_the_client_notices_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.desk.plan()
    key = site.desk.customer("alice")
    site.desk.run("ALTER TABLE usage_events ADD CONSTRAINT no_poison CHECK (model_id <> 'poison')")
    good, bad = site.mounted(), site.mounted(answering(chat_answer(50, 950, model="poison")))

    async def day() -> list[Answer]:
        answers = await asyncio.gather(named(bad, key, "bad"), named(good, key, "good"), named(bad, key, "worse"))
        await closed(good)
        await closed(bad)
        return list(answers)

    with caplog.at_level(logging.ERROR):
        answers = asyncio.run(day())
    assert [(answer.status, answer.complete) for answer in answers] == [(200, True)] * 3
    assert site.request_ids() == ["good"]
    assert "REFUSED" in caplog.text
    kept = [json.loads(line) for line in (site.journal / "refused").read_text().splitlines()]
    assert {line["request_id"] for line in kept} == {"bad", "worse"}
    assert "no_poison" in kept[0]["reason"]
    [check] = [check for check in _inspected(site.settings()) if check.name == "journal"]
    assert (check.state, "2 " in check.detail) == ("failed", True)

    # The sweeper leaves a row without charge for each; once the cause is mended, the usage takes its place.
    site.sweep()
    assert site.desk.rows("SELECT count(*) AS n FROM usage_events WHERE NOT billable") == [{"n": 2}]
    site.desk.run("ALTER TABLE usage_events DROP CONSTRAINT no_poison")
    (site.journal / "refused").rename(site.journal / "again.jsonl")
    assert site.replay() == 2
    assert sorted(site.request_ids()) == ["bad", "good", "worse"]
    assert site.period()["events"] == 3
    site.sums_agree()


def test_an_event_of_a_journal_that_the_database_refuses_is_kept_too(site: Site) -> None:
    site.desk.plan()
    site.desk.customer("alice")
    journal = Journal(site.journal)
    journal.append([event("alice"), event("nobody")])
    journal.hand_over()
    assert site.replay() == 2
    assert len((site.journal / "refused").read_text().splitlines()) == 1
    assert site.period()["events"] == 1


def test_a_hold_whose_process_was_killed_leaves_one_row_and_a_late_settle_takes_its_place(site: Site) -> None:
    site.desk.plan('spend_cap = "10.00"')
    key = site.desk.customer("alice")
    entered, leave = asyncio.Event(), asyncio.Event()

    async def stalls(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        await leave.wait()
        await answering(chat_answer(50, 950))(scope, receive, send)

    middleware = site.mounted(stalls)

    async def day() -> None:
        request = asyncio.create_task(named(middleware, key, "late"))
        await entered.wait()
        assert await asyncio.to_thread(site.sweep) == 1
        assert await asyncio.to_thread(site.sweep) == 0
        [row] = site.desk.rows("SELECT billable, complete, cost_units, request_id FROM usage_events")
        assert row == {"billable": False, "complete": False, "cost_units": 0, "request_id": None}
        leave.set()
        assert (await request).status == 200

    run(middleware, day)
    [row] = site.desk.rows("SELECT billable, complete, cost_units, request_id FROM usage_events")
    assert row == {"billable": True, "complete": True, "cost_units": 1, "request_id": "late"}
    site.sweep()
    assert site.period()["events"] == 1
    site.sums_agree()


def test_a_hold_whose_row_is_refused_is_dropped_and_keeps_no_other_from_its_turn(site: Site) -> None:
    site.desk.plan()
    site.desk.customer("alice")
    site.desk.run("ALTER TABLE usage_events ADD CONSTRAINT no_poison CHECK (model_id <> 'poison')")
    for model in ("poison", "gpt-4o"):
        site.desk.run(
            "INSERT INTO holds (id, user_id, started_at, expires_at, model_id, tokens_in)"
            " VALUES (:id, 'alice', :at, :until, :model, 1)",
            id=uuid4(), at=NOW, until=NOW + timedelta(minutes=1), model=model,
        )  # fmt: skip
    site.sweep()
    assert site.desk.rows("SELECT id FROM holds") == []
    assert len(site.request_ids()) == 1


def test_an_attempt_that_is_given_up_leaves_the_sockets_of_others_alone(site: Site) -> None:
    async def day() -> bytes:
        wire = Wire(site.database_url, None, budget_seconds=0.3, durable=True)
        loop = asyncio.get_running_loop()

        async def sleeps(connection: psycopg.AsyncConnection[Any]) -> None:
            await connection.execute("SELECT pg_sleep(3)")

        await wire.run(lambda connection: connection.execute("SELECT 1"))
        heard = asyncio.Event()
        with pytest.raises(StoreUnavailable):
            await wire.run(sleeps)
        # In the very instant of giving up, the numbers of closed sockets pass to new ones.
        pairs = [socket.socketpair() for _ in range(8)]
        for left, _ in pairs:
            loop.add_reader(left.fileno(), heard.set)
        await asyncio.sleep(0.05)
        got = []
        for left, right in pairs:
            heard.clear()
            right.send(b"!")
            await asyncio.wait_for(heard.wait(), 1)
            got.append(left.recv(1))
            loop.remove_reader(left.fileno())
        for pair in pairs:
            for end in pair:
                end.close()
        wire.discard()
        return b"".join(got)

    assert asyncio.run(day()) == b"!" * 8


def event(user_id: str) -> UsageEvent:
    return UsageEvent(uuid4(), user_id, NOW, Usage("gpt-4o", 50, 950))


def _inspected(settings: Settings) -> Any:
    return inspect(settings, FrozenClock(NOW), database=None, stripe=None).checks

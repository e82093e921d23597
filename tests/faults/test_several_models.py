"""One request that calls several models: one row, one request on the bill, and each model at its own price."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from faults.conftest import CHAT, Site, run
from integration.metering.conftest import NOW, ask
from tollkeeper import record_usage
from tollkeeper.services.reconciling import reconcile

PLAN = """
[plans.pro]
name = "Pro"
currency = "usd"

[[plans.pro.prices]]
model = "cheap"
token_type = "*"
per = 1000
price = "0.01"

[[plans.pro.prices]]
model = "dear"
token_type = "*"
per = 1000
price = "1.00"

[[plans.pro.prices]]
model = "*"
meter = "requests"
price = "0.05"

[[plans.pro.prices]]
model = "*"
meter = "images"
price = "0.10"
"""


def agent(*calls: dict[str, Any]) -> Starlette:
    async def answer(request: Request) -> Response:
        for call in calls:
            record_usage(request, **call)
        return JSONResponse({})

    return Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])


CALLS = (
    {"model_id": "cheap", "tokens_in": 2000, "tokens_out": 500, "cached_tokens_in": 1000},
    {"model_id": "dear", "tokens_in": 300, "tokens_out": 100, "reasoning_tokens_out": 50, "units": {"images": 1}},
    {"model_id": "cheap", "tokens_in": 400, "tokens_out": 100, "units": {"images": 2}},
)
# cheap: 3000 tokens at a cent a thousand = 3 cents; dear: 400 tokens at a dollar a thousand = 40 cents;
# one request = 5 cents; three images = 30 cents.
CENTS = 3 + 40 + 5 + 30


def test_each_model_of_a_mixed_request_is_priced_as_itself(site: Site) -> None:
    site.desk.plan(text=PLAN)
    key = site.desk.customer("alice")
    middleware = site.mounted(agent(*CALLS))

    run(middleware, lambda: ask(middleware, key, CHAT))

    [row] = site.desk.events()
    counts = (row["tokens_in"], row["tokens_out"], row["cached_tokens_in"], row["reasoning_tokens_out"])
    assert (row["model_id"], *counts, row["cost_units"]) == ("cheap", 2700, 700, 1000, 50, CENTS)
    assert [part["model_id"] for part in row["parts"]] == ["cheap", "dear"]
    assert row["units"] == {"images": 3}
    [period] = site.desk.rows("SELECT totals, spent, tokens, events FROM usage_periods")
    assert (period["spent"], period["tokens"], period["events"]) == (CENTS, 3400, 1)
    assert period["totals"] == {
        "cheap": {"input": 1400, "cached_input": 1000, "output": 600, "requests": 1, "images": 2},
        "dear": {"input": 300, "output": 100, "images": 1},
    }


def test_events_counted_anew_agree_with_the_totals_of_mixed_requests(site: Site) -> None:
    site.desk.plan(text=PLAN)
    key = site.desk.customer("alice")
    mixed, plain = site.mounted(agent(*CALLS)), site.mounted(agent(CALLS[0]))

    for middleware in (mixed, plain, mixed):
        run(middleware, lambda middleware=middleware: ask(middleware, key, CHAT))  # type: ignore[misc] # binds this round's

    assert site.desk.rows("SELECT events FROM usage_periods") == [{"events": 3}]
    assert reconcile(site.desk.database, None, now=NOW).ok
    site.desk.tamper(
        "UPDATE usage_events SET parts = jsonb_set(parts, '{1,tokens_out}', '101') WHERE parts IS NOT NULL"
    )
    assert not reconcile(site.desk.database, None, now=NOW).ok


def test_calls_of_one_model_make_no_parts(site: Site) -> None:
    site.desk.plan(text=PLAN)
    key = site.desk.customer("alice")
    middleware = site.mounted(agent(CALLS[0], CALLS[2]))

    run(middleware, lambda: ask(middleware, key, CHAT))

    [row] = site.desk.events()
    assert (row["parts"], row["tokens_in"], row["cost_units"]) == (None, 2400, 3 + 5 + 20)


def test_a_mixed_request_waits_in_the_journal_with_its_parts_and_counts_once(site: Site) -> None:
    site.desk.plan(text=PLAN)
    key = site.desk.customer("alice")
    middleware = site.mounted(agent(*CALLS))
    refuses = "ALTER TABLE usage_events ADD CONSTRAINT nothing CHECK (false) NOT VALID"

    async def day() -> None:
        site.desk.run(refuses)
        await ask(middleware, key, CHAT)
        site.desk.run("ALTER TABLE usage_events DROP CONSTRAINT nothing")

    run(middleware, day)
    kept = (site.journal / "refused").read_bytes()
    for _ in range(2):
        (site.journal / "again.jsonl").write_bytes(kept)
        assert site.replay() == 1
    [row] = site.desk.events()
    assert (row["cost_units"], len(row["parts"])) == (CENTS, 2)
    assert site.period()["spent"] == CENTS

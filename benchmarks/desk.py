"""How long the pages take in a large business: `python benchmarks/desk.py [--customers N] [--events N] [--keep FOLDER]`.

Seeds a PostgreSQL of its own (or the one in FOLDER, which is kept, so that the next run finds it) and asks for every page of
the operator's desk and of a customer, some of them deep inside their lists. Exit status 1 if a page of these takes 300 ms or more.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.desk_seeding import HEAVY, KEY, NOW, Size, seed_business
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from tollkeeper import billing_routes
from tollkeeper.embedded.postgres import EmbeddedPostgres
from tollkeeper.services.overseeing import take_stock
from tollkeeper.settings import read_settings
from tollkeeper.storage.database import Database, first_row
from tollkeeper.storage.migrating import upgrade
from tollkeeper.testing import FrozenClock

GOAL_MS = 300
TIMES = 9
DEEP = 40
"""How many pages down a list is followed before it is measured."""
TOKEN = "operators-token-made-up"
ORDINARY = "user-0000043"


def main() -> int:
    arguments = _arguments()
    size = Size(arguments.customers, arguments.events)
    with EmbeddedPostgres(keep=arguments.keep) as server:
        if not _is_seeded(server.url):
            seed_business(server.url, size, lambda step: print(step, file=sys.stderr, flush=True))
        upgrade(server.url)
        worst = 0.0
        print(f"{_size_of(server.url)}; each page {TIMES} times\n\n| page | median | slowest |\n|---|---|---|")
        for name, middle, slowest in _measured(server.url):
            worst = max(worst, middle)
            print(_row(name, middle, slowest), flush=True)
        _beyond_the_goal(server.url)
    return 0 if worst < GOAL_MS else 1


def _measured(url: str) -> Iterator[tuple[str, float, float]]:
    settings = read_settings(database_url=url, admin_token=TOKEN)
    clock = FrozenClock(NOW)
    desk = _client(billing_routes(settings=settings, clock=clock), f"Bearer {TOKEN}")
    _get(desk, "admin/")
    for path in (
        "", "customers", "customers?q=user-0099", "customers?q=billing@user-77777.example", "customers?q=nobody",
        f"customer?user={ORDINARY}", "invoices", "invoices?status=draft", "invoices?status=alarm", "invoices?status=paid",
        f"invoices?q={ORDINARY}", "invoices?q=in_nothing", "parked", "reports", "reports?state=rejected",
        f"reports?q={ORDINARY}", "webhooks", "webhooks?state=failed", "notices", "audit", f"audit?q={ORDINARY}",
        "audit?kind=invoice.drafted", "health",
    ):  # fmt: skip
        yield _timed(desk, f"admin/{path}")
    for path in ("customers", "invoices?status=draft", "invoices", "reports", "webhooks", "audit"):
        _, middle, slowest = _timed(desk, _deep(desk, f"admin/{path}"))
        yield f"admin/{path}, {DEEP} pages down", middle, slowest
    [invoice] = re.findall(r"/(admin/invoices/[0-9a-f-]{36})", _get(desk, f"admin/invoices?q={ORDINARY}"))[:1]
    yield "admin/invoices/…", *_timed(desk, invoice)[1:]
    ordinary = _client(billing_routes(settings=settings, clock=clock, identify=lambda scope: ORDINARY), "")
    yield f"usage page of {ORDINARY}", *_timed(ordinary, "")[1:]
    yield f"api/usage of {ORDINARY}", *_timed(ordinary, "api/usage")[1:]


def _beyond_the_goal(url: str) -> None:
    """What takes as long as it takes: sums over everybody, which no page waits for, and the bars of one who uses very much."""
    with Database(url) as database:
        began = time.perf_counter()
        assert take_stock(database, NOW)
        took = (time.perf_counter() - began) * 1000
    print(_row("adding up the desk's figures, in the background", took, took))
    settings = read_settings(database_url=url)
    heavy = _client(billing_routes(settings=settings, clock=FrozenClock(NOW)), f"Bearer {KEY}")
    print(_row(f"usage page of {HEAVY}, who has a hundredth of all events", *_timed(heavy, "")[1:]))


def _row(name: str, middle: float, slowest: float) -> str:
    return f"| {name} | {middle:.0f} ms | {slowest:.0f} ms |"


def _client(pages: Starlette, authorization: str) -> TestClient:
    app = Starlette(routes=[Mount("/billing", pages)])
    return TestClient(app, base_url="http://testserver/billing/", headers={"Authorization": authorization})


def _get(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, f"{path}: {answer.status_code}"
    return answer.text


def _timed(client: TestClient, path: str) -> tuple[str, float, float]:
    """Name, median and slowest, in milliseconds; the first answer, with everything cold, is not counted."""
    took = []
    for _ in range(TIMES + 1):
        began = time.perf_counter()
        _get(client, path)
        took.append((time.perf_counter() - began) * 1000)
    return path, statistics.median(took[1:]), max(took[1:])


def _deep(client: TestClient, path: str) -> str:
    for _ in range(DEEP):
        more = re.findall(r'href="/billing/([^"]+)">More', _get(client, path))
        if not more:
            break
        path = more[0].replace("&amp;", "&")
    return path


def _is_seeded(url: str) -> bool:
    with Database(url) as database, database.transaction() as connection:
        row = first_row(connection, "SELECT to_regclass('desk_figures') IS NOT NULL AS there")
        assert row is not None
        return bool(row["there"])


def _size_of(url: str) -> str:
    statement = """
        SELECT (SELECT count(*) FROM customers) AS customers, (SELECT count(*) FROM usage_events) AS events,
               (SELECT count(*) FROM invoices) AS invoices, (SELECT count(*) FROM stripe_reports) AS reports
    """
    with Database(url) as database, database.transaction() as connection:
        row = first_row(connection, statement)
    assert row is not None
    return ", ".join(f"{number:,} {name}" for name, number in row.items())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--keep", type=Path, help="a folder for the database, which is found there again")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

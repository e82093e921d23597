"""What closing ten thousand customers costs, beside the plain GROUP BY: `python benchmarks/close.py [--events N …]`.

Starts a PostgreSQL of its own in a temporary folder (`TMPDIR`), fills it for each size in turn, and prints seconds, ratios
and the goals that they are measured against. `make scale` closes 1,000,000 events in about two minutes; `make scale
SCALE="--events 1000000 5000000 20000000"` takes about half an hour and 20 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median

import psycopg
from scale.measuring import Ingest, Round, ingest, one_round
from scale.seeding import CUSTOMERS, seed

from tollkeeper.embedded import Services

INGESTED = 10_000


def main() -> int:
    arguments = _arguments()
    found: dict[int, list[Round]] = {}
    rates: Ingest | None = None
    for events in sorted(arguments.events):
        with Services(redis=False) as services:
            began = time.monotonic()
            seed(services.database_url, events, _tell)
            _tell(f"{events:,} events are there after {time.monotonic() - began:.0f} s; load {os.getloadavg()[0]:.1f}")
            found[events] = [_measured(services.database_url, n) for n in range(arguments.rounds)]
            _print_size(events, found[events], _billed(services.database_url))
            if rates is None:
                rates = ingest(services.database_url, INGESTED)
    assert rates is not None
    _print_ingest(rates)
    _print_goals(found, rates)
    return 0


def _measured(url: str, number: int) -> Round:
    a_round = one_round(url)
    _tell(f"round {number + 1}: GROUP BY {a_round.group_by:.2f} s, close {a_round.close:.2f} s")
    return a_round


def _billed(url: str) -> tuple[int, int]:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM invoices), (SELECT count(*) FROM invoice_line_items)"
        ).fetchone()
    assert row is not None
    return row


def _middle(rounds: Sequence[Round], figure: Callable[[Round], float]) -> float:
    return median(map(figure, rounds))


def _print_size(events: int, rounds: Sequence[Round], billed: tuple[int, int]) -> None:
    print(
        f"\n{events:,} events, a third of them in the month that is closed; {billed[0]:,} invoices with {billed[1]:,} lines"
    )
    for name, figure in (
        ("plain GROUP BY by customer and model", lambda r: r.group_by),
        ("totals where they are kept", lambda r: r.read_totals),
        ("totals through the view usage_totals", lambda r: r.read_view),
        ("drafting in one SQL statement", lambda r: r.draft_sql),
        ("close, whole", lambda r: r.close),
        ("  of it counting the events again", lambda r: r.proof),
        ("  of it all the rest", lambda r: r.drafting),
        ("  processor time of its own process", lambda r: r.close_cpu),
        ("processor time, GROUP BY", lambda r: r.group_by_work),
        ("processor time, drafting in SQL", lambda r: r.draft_sql_work),
        ("processor time, close and server", lambda r: r.close_work),
    ):
        print(f"  {name:40}{_middle(rounds, figure):10.3f} s")
    print(f"  {'largest memory of its process':40}{_middle(rounds, lambda r: r.close_mib):10.1f} MiB")


def _print_ingest(rates: Ingest) -> None:
    print("\nStoring events, rows a second")
    for name, rate in (
        ("COPY binary, which a known id stops", rates.copy),
        ("insert of JSON, which skips known ids", rates.statement),
        ("settled: priced, added to totals", rates.settled),
        ("usage import of JSONL", rates.imported),
        ("usage import again: all known", rates.skipped),
    ):
        print(f"  {name:40}{rate:10,.0f}")


def _print_goals(found: dict[int, list[Round]], rates: Ingest) -> None:
    smallest, largest = min(found), max(found)
    rounds = found[largest]
    goals = [
        ("9", "insert in batches, of COPY", rates.statement / rates.copy, ">=", 0.45),
        ("10", "reading totals, faster than GROUP BY", _middle(rounds, lambda r: r.group_by / r.read_totals), ">=", 50),
        (
            "13",
            "close, of GROUP BY, in processor time",
            _middle(rounds, lambda r: r.close_work / r.group_by_work),
            "<=",
            1.6,
        ),
        ("13", "the same in seconds on the clock", _middle(rounds, lambda r: r.close / r.group_by), "<=", 1.6),
        (
            "13",
            "close without counting again, of GROUP BY",
            _middle(rounds, lambda r: r.drafting / r.group_by),
            "<=",
            0.35,
        ),
        ("14", "drafting, of one SQL statement", _middle(rounds, lambda r: r.drafting / r.draft_sql), "<=", 1.5),
    ]
    if largest > smallest:
        memory = _middle(rounds, lambda r: r.close_mib) / _middle(found[smallest], lambda r: r.close_mib)
        goals.append(("16", f"memory at {largest:,} over {smallest:,}", memory, "<=", 1.1))
    print(f"\nGoals, at {largest:,} events, medians of {len(rounds)} rounds in which everything ran in turn")
    for row, name, figure, sign, bound in goals:
        met = figure >= bound if sign == ">=" else figure <= bound
        print(f"  {row:>3}  {name:44}{figure:8.2f}   {sign} {bound:<5}  {'met' if met else 'missed'}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"Close {CUSTOMERS:,} customers, beside the plain GROUP BY.")
    parser.add_argument(
        "--events", type=int, nargs="+", default=[1_000_000], metavar="N", help="how many events there are"
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured in turn")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

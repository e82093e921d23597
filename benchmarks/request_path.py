"""What metering costs a request, beside what others cost: `python benchmarks/request_path.py [--quick]`.

Starts a PostgreSQL and a Redis of its own, prints tables, draws the picture of the README, and writes the figures into
`docs/explanation/performance.md`. About five minutes; with `--quick` about one, and then it only prints, and rougher figures.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import tables
from bench.goals import BARE, FASTAPI, LIMITER, NAIVE, OURS, SLOWAPI
from bench.measuring import Case, Pace, Round, Served, measure, middle
from bench.picture import Bar, Panel, draw
from bench.processes import Process
from bench.seeding import seed, tidy
from bench.traffic import CUSTOMERS

from tollkeeper.embedded import Services

DOCS = Path(__file__).parents[1] / "docs"
PICTURE, PAGE = DOCS / "images" / "bench.svg", DOCS / "explanation" / "performance.md"
NOOP_ASGI, NOOP_BASE = "no-op ASGI middleware", "no-op BaseHTTPMiddleware"
BARE_STREAM, OURS_STREAM = "bare Starlette, stream", "tollkeeper, stream"

CASES = (
    Case("bare", BARE, BARE),
    Case("noop_asgi", NOOP_ASGI, BARE),
    Case("noop_base", NOOP_BASE, BARE),
    Case("naive", NAIVE, BARE),
    Case("slowapi", SLOWAPI, BARE),
    Case("fastapi", FASTAPI, FASTAPI),
    Case("fastapi_limiter", LIMITER, FASTAPI),
    Case("ours", OURS, BARE),
    Case("bare", BARE_STREAM, BARE_STREAM, stream=True),
    Case("ours", OURS_STREAM, BARE_STREAM, stream=True),
)
THOROUGH = Pace(rounds=7, in_process=0.5, many_connections=1.0, one_connection=0.7)
QUICK = Pace(rounds=5, in_process=0.1, many_connections=0.2, one_connection=0.15)
BUSY = 0.5
"""A load average from which on the latencies are somebody else's."""


def main() -> int:
    quick = _arguments().quick
    began, load = time.monotonic(), os.getloadavg()[0]
    rounds = _rounds(QUICK if quick else THOROUGH)
    _progress("")
    report = "\n\n".join(
        [
            tables.in_process(CASES, rounds),
            tables.over_http(CASES, rounds),
            tables.goals(rounds),
            _conditions(rounds, load),
        ]
    )
    print(report)
    print(f"{time.monotonic() - began:.0f} s in all")
    if not quick:
        _publish(rounds, report, load)
    return 0


def _publish(rounds: Sequence[Round], report: str, load: float) -> None:
    busy = ", busy with other work" if load > BUSY else ""
    PICTURE.write_text(draw(_panels(rounds), f"{_machine()}{busy}; make bench"), encoding="utf-8")
    PAGE.write_text(with_figures(PAGE.read_text(encoding="utf-8"), report), encoding="utf-8")
    print(f"written: {PICTURE.relative_to(DOCS.parent)}, {PAGE.relative_to(DOCS.parent)}")


def with_figures(page: str, report: str) -> str:
    """The page with the report between its two marks, in place of what stood there."""
    before, begin, rest = page.partition("<!-- figures -->\n")
    _, end, after = rest.partition("<!-- end of figures -->")
    return f"{before}{begin}```text\n{report}\n```\n{end}{after}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="rougher figures in about a minute; nothing is written")
    return parser.parse_args()


def _conditions(rounds: Sequence[Round], load: float) -> str:
    lines = [f"medians of {len(rounds)} interleaved rounds; {_machine()}; load before the start {load:.1f}"]
    if load > BUSY:
        lines.append("The machine was busy with other work: whatever waits for a database looks worse than it is.")
    return "\n".join(lines)


def _rounds(pace: Pace) -> list[Round]:
    with ExitStack() as stack:
        _progress("starting PostgreSQL and Redis")
        services = stack.enter_context(Services())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        _progress(f"storing {CUSTOMERS:,} customers")
        seed(services.database_url)
        client = stack.enter_context(Process("bench.load"))
        environment = {
            "BENCH_DATABASE_URL": services.database_url,
            "BENCH_REDIS_URL": services.redis_url,
            "BENCH_FOLDER": folder,
        }
        apps = {}
        for number, name in enumerate(sorted({case.app for case in CASES})):
            process = stack.enter_context(Process("bench.worker", name, str(number), environment=environment))
            apps[name] = Served(process, process.hear()["port"])
        _warm_up(apps)
        tidy(services.database_url)
        return list(measure(CASES, apps, client, pace, _progress))


def _warm_up(apps: dict[str, Served]) -> None:
    """Each app has served before it is measured; ours every customer, because its first request of a period does more."""
    for name, served in apps.items():
        _progress(f"warming up: {name}")
        served.process.tell(do="each_customer", count=CUSTOMERS if name == "ours" else 300)


def _panels(rounds: Sequence[Round]) -> list[Panel]:
    def added(label: str, base: str) -> float:
        return middle(rounds, lambda r: r[label].cpu_32 - r[base].cpu_32)

    def rate(label: str) -> float:
        return middle(rounds, lambda r: r[label].http_rate_32)

    compared = ((OURS, BARE), (SLOWAPI, BARE), (LIMITER, FASTAPI), (NOOP_BASE, BARE), (NAIVE, BARE))
    return [
        Panel(
            "Processor time that a request costs more, in microseconds (less is better)",
            [Bar(label, added(label, base), _kind(label)) for label, base in compared],
        ),
        Panel(
            "Requests per second of one process with 32 connections (more is better)",
            [Bar(label, rate(label), _kind(label)) for label in (BARE, OURS, SLOWAPI, LIMITER, NOOP_BASE, NAIVE)],
        ),
    ]


def _kind(label: str) -> str:
    return {OURS: "ours", BARE: "base"}.get(label, "other")


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def _progress(sentence: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{sentence}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Random months at a Stripe that fails in every way: `python benchmarks/payments_chaos.py [--runs 300] [--seed 0] [--mode MODE]`.

Each run is one seed in one mode (`meters` or `invoices`, in turn unless one is named). It ends with Stripe's total compared with
what is owed, customer by customer, and with everything that `tollkeeper reconcile` compares. Prints how far it is, each
difference with the seed that shows it again, what the runs met on their way, and exits 1 if there was a difference.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from integration.closing.ledger import Ledger
from integration.closing.shared import _EMPTY
from integration.collecting.chaos import MODES, Life
from tollkeeper.embedded import services_from_environment
from tollkeeper.storage.database import Database
from tollkeeper.storage.migrating import upgrade


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--mode", choices=MODES)
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with services_from_environment(fsync=False) as services:
        upgrade(services.database_url)
        with Database(services.database_url) as database:
            return _run(database, asked.runs, asked.seed, asked.mode)


def _run(database: Database, runs: int, first: int, only: str | None) -> int:
    started, wrong, calls = time.monotonic(), 0, 0
    met: Counter[str] = Counter()
    for n in range(runs):
        mode = MODES[n % len(MODES)] if only is None else next(mode for mode in MODES if mode == only)
        seed = first + (n // len(MODES) if only is None else n)
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute(_EMPTY)
        ending = Life(Ledger(database), seed, mode).live()
        calls += ending.calls
        met.update(ending.met)
        wrong += bool(ending.wrong)
        for sentence in ending.wrong:
            print(f"--mode {mode} --seed {seed}: {sentence}", flush=True)
        if (n + 1) % 25 == 0:
            print(
                f"{n + 1} runs, {calls:,} calls, {wrong} with a difference, {time.monotonic() - started:.0f} s",
                flush=True,
            )
    print(f"{runs} runs, {calls:,} calls, {wrong} with a difference, {time.monotonic() - started:.0f} s")
    print("met on the way: " + ", ".join(f"{what} {number:,}" for what, number in sorted(met.items())))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

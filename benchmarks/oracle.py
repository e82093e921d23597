"""Random histories through the package and through an independent oracle: `python benchmarks/oracle.py [HOW_MANY] [SEED]`.

10,000 by default. Prints how far it is, each difference with the seed that shows it again, and exits 1 if there was one.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from unit.domain.agreement import disagreements
from unit.domain.history import random_history


def main(how_many: int = 10_000, first_seed: int = 0) -> int:
    started = time.monotonic()
    wrong = events = moves = 0
    currencies: set[str] = set()
    for seed in range(first_seed, first_seed + how_many):
        random = Random(seed)
        history = random_history(random, most_events=30)
        events += len(history.events)
        moves += len(history.moves)
        currencies.add(history.plans[0]["currency"])
        for sentence in disagreements(history, random):
            wrong += 1
            print(f"seed {seed}: {sentence}")
        if (seed - first_seed + 1) % 1_000 == 0:
            print(f"{seed - first_seed + 1:,} histories, {events:,} events, {wrong} differences", flush=True)
    print(
        f"{how_many:,} histories in {len(currencies)} currencies, {events:,} events, {moves:,} changes of plan: "
        f"{wrong} differences, {time.monotonic() - started:.0f} s"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))

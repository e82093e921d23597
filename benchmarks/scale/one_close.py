"""Close everything that is due, in a process of its own, and print what it took as one JSON document."""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

from scale.seeding import END
from tollkeeper.services import closing
from tollkeeper.storage.database import Database


def main() -> None:
    """The database's address is the one argument."""
    proofs: list[float] = []
    proven_versions = closing.proven_versions

    def timed(*arguments: Any) -> Any:
        began = time.perf_counter()
        found = proven_versions(*arguments)
        proofs.append(time.perf_counter() - began)
        return found

    setattr(closing, "proven_versions", timed)  # noqa: B010 - a stopwatch, for this process alone
    with Database(sys.argv[1]) as database:
        began, cpu = time.perf_counter(), time.process_time()
        done = closing.close_due(database, now=END, as_of=END, collect="invoices")
        took = time.perf_counter() - began
    print(
        json.dumps(
            {
                "closed": done.closed,
                "seconds": took,
                "proof": sum(proofs),
                "cpu": time.process_time() - cpu,
                "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


main()

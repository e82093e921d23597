"""How long one task may go on."""

from __future__ import annotations

from collections.abc import Callable

from tollkeeper.clock import Clock

BUDGET_SECONDS = 120
"""Well below the time limit: what is left then is for the next message, which is never far."""


def go_on(clock: Clock, step: Callable[[], bool]) -> None:
    """Repeat a step for as long as it says that there is more to do at once, and time is left."""
    until = clock.monotonic() + BUDGET_SECONDS
    while step() and clock.monotonic() < until:
        pass

"""What the request path tells whoever watches it: one port, and everything that listens behind it.

A watcher is called on the request path, so it must be quick and must not raise; `None` everywhere means that nobody watches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tollkeeper.domain.event import UsageEvent


class Watch(Protocol):
    """What happens to metered requests. Durations are seconds."""

    def refused(self, code: str, seconds: float) -> None:
        """A request was turned away, for the reason with this code, after so long."""

    def admitted(self, seconds: float) -> None:
        """A request was let through; deciding took so long."""

    def settled(self, event: UsageEvent, seconds: float) -> None:
        """A request's event is stored for good; storing it took so long."""


class Several:
    """One watch in front of many."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self._watches = tuple(watches)

    def refused(self, code: str, seconds: float) -> None:
        for watch in self._watches:
            watch.refused(code, seconds)

    def admitted(self, seconds: float) -> None:
        for watch in self._watches:
            watch.admitted(seconds)

    def settled(self, event: UsageEvent, seconds: float) -> None:
        for watch in self._watches:
            watch.settled(event, seconds)


def watching() -> Watch | None:
    """Everything that is installed and set up to listen in this process; None where nothing is.

    Call it when the first request comes and not at import: by then the host has set up what it wants to.
    """
    from tollkeeper.telemetry import opentelemetry, prometheus

    found = [watch for watch in (prometheus.watch(), opentelemetry.watch()) if watch is not None]
    if len(found) > 1:
        return Several(found)
    return found[0] if found else None

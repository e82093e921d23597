"""Things that go wrong on purpose: which, for which calls, how many times."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase


class FaultKind(StrEnum):
    """What goes wrong. *Before* and *after* are meant of applying the call."""

    DROP_BEFORE = "drop_before"
    """The connection closes; nothing was applied."""
    DROP_AFTER = "drop_after"
    """The call is applied, its answer kept under its key where it has one, and the connection closes without a reply."""
    ERROR_BEFORE = "error_before"
    """A 5xx without applying, kept under the key."""
    ERROR_AFTER = "error_after"
    """A 5xx although it was applied, kept under the key."""
    RATE_LIMIT = "rate_limit"
    """A 429; nothing is applied or kept. With `retry_after`, the header says so."""
    HANG_BEFORE = "hang_before"
    """The call takes `seconds` to be applied; the same key meanwhile gets 409."""
    HANG_AFTER = "hang_after"
    """The call is applied at once, its reply takes `seconds`."""


WHILE_APPLYING = frozenset({FaultKind.ERROR_BEFORE, FaultKind.ERROR_AFTER, FaultKind.HANG_BEFORE})
"""Faults of applying a call: a call answered from a kept answer neither meets them nor uses them up."""
ON_THE_WAY = frozenset(FaultKind) - WHILE_APPLYING


@dataclass(slots=True)
class Fault:
    """One fault for the next `times` calls whose method and path match (`*` and `?` as in file names)."""

    kind: FaultKind
    method: str
    path: str
    times: int
    seconds: float
    retry_after: int | None
    status: int


class Faults:
    """The faults still to come, in the order they were asked for."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        if fault.times < 1:
            raise ValueError("a fault happens at least once: times >= 1")
        self._waiting.append(fault)

    def waiting(self) -> list[Fault]:
        return list(self._waiting)

    def clear(self) -> None:
        self._waiting.clear()

    def take(self, kinds: frozenset[FaultKind], method: str, path: str) -> Fault | None:
        """The first waiting fault of these kinds for this call, which uses up one of its times."""
        for fault in self._waiting:
            if fault.kind in kinds and fnmatchcase(method, fault.method) and fnmatchcase(path, fault.path):
                fault.times -= 1
                if not fault.times:
                    self._waiting.remove(fault)
                return fault
        return None

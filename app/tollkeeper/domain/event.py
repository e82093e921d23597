"""A usage event: one metered fact, as it is stored in one row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from tollkeeper.domain.usage import Usage

UsageState = Literal["reported", "not_reported", "unreadable"]


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One request (or one imported fact). The id makes storing it repeatable: the same id is the same event."""

    id: UUID
    user_id: str
    timestamp: datetime
    """When the request began, by the clock of the process that took it; this alone decides the period."""
    usage: Usage
    status_code: int | None = None
    method: str | None = None
    path: str | None = None
    request_id: str | None = None
    latency_ms: int | None = None
    estimated: bool = False
    """The counts were estimated from what went by, not stated by anybody."""
    complete: bool = True
    """The client got the whole answer."""
    state: UsageState = "reported"
    billable: bool = True
    """False: recorded with its counts, at no charge (a route that raised, a poll of an earlier answer)."""

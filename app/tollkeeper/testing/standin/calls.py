"""What was asked of the stand-in and what it answered, for tests to look at."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class CallRecord:
    """One call. `status` None: still running. `replied` False: the connection was closed instead of replying."""

    method: str
    path: str
    request_id: str | None = None
    idempotency_key: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    status: int | None = None
    replayed: bool = False
    replied: bool = True
    fault: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

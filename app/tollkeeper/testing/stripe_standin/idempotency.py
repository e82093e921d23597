"""The answers kept under `Idempotency-Key`, by the rules of API v1.

The first execution's status and body are kept, failures too, and answered again to every repeat. What never began to
execute keeps nothing: wrong parameters, a rate limit, a collision with a call still running.
Source: https://docs.stripe.com/api/idempotent_requests
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tollkeeper.testing.stripe_standin.problem import bad_request, key_in_use, key_of_other_call

_LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """How the first call under a key was answered, byte for byte."""

    status: int
    body: bytes
    request_id: str


@dataclass(slots=True)
class _Entry:
    path: str
    params: dict[str, Any]
    begun_at: datetime
    answer: KeptAnswer | None = None


class IdempotencyKeys:
    """The keys of one account."""

    def __init__(self, kept_for: timedelta) -> None:
        self._kept_for = kept_for
        self._entries: dict[str, _Entry] = {}

    def begin(self, key: str, path: str, params: dict[str, Any], now: datetime) -> KeptAnswer | None:
        """The kept answer, or None after noting that a first call is now running under this key."""
        if len(key) > _LONGEST_KEY:
            raise bad_request(None, f"Idempotency keys have at most {_LONGEST_KEY} characters.")
        self.prune(now, self._kept_for)
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(path, params, now)
            return None
        if entry.path != path:
            raise key_of_other_call(key, "endpoint")
        if entry.params != params:
            raise key_of_other_call(key, "parameters")
        if entry.answer is None:
            raise key_in_use(key)
        return entry.answer

    def finish(self, key: str, answer: KeptAnswer) -> None:
        self._entries[key].answer = answer

    def abandon(self, key: str) -> None:
        """Forgets a call that did not come to an answer."""
        entry = self._entries.get(key)
        if entry is not None and entry.answer is None:
            del self._entries[key]

    def prune(self, now: datetime, older_than: timedelta) -> int:
        """Forgets answers of at least that age; how many they were."""
        old = [
            key
            for key, entry in list(self._entries.items())  # another thread may be adding
            if entry.answer is not None and now - entry.begun_at >= older_than
        ]
        for key in old:
            self._entries.pop(key, None)
        return len(old)

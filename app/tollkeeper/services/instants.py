"""Instants as people and files write them: ISO 8601 with an offset."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from tollkeeper.domain.errors import InvalidInput

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)"
)


def parse_instant(text: str, field: str) -> datetime:
    """`2026-11-01T09:30:00+01:00` in UTC; `Z` is an offset too, a time without one is refused. Kept to the microsecond."""
    if not _INSTANT.fullmatch(text):
        raise InvalidInput(field, "an ISO 8601 time with an offset, such as 2026-11-01T00:00:00Z")
    return _in_utc(text.upper(), field)


def parse_instant_or_date(text: str, field: str) -> datetime:
    """The same, where a bare date stands for its first instant in UTC."""
    if _DATE.fullmatch(text):
        return _in_utc(text + "T00:00:00Z", field)
    if not _INSTANT.fullmatch(text):
        raise InvalidInput(field, "an ISO 8601 time with an offset, such as 2026-11-01T00:00:00Z, or a date in UTC")
    return _in_utc(text.upper(), field)


def _in_utc(text: str, field: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(field, "a date and time that exist") from error

"""Values in what JSON has, and in what people read: the same for commands and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID


def plain(value: Any) -> Any:
    """The value in what JSON has. Decimals are strings, so that every reader gets them exactly."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value) if isinstance(value, UUID) else value


def instant(at: datetime) -> str:
    """`2026-11-01T00:00:00Z`."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def exact(quantity: Decimal | int) -> Decimal | int:
    """A quantity for a document: a number where it is whole, else a decimal."""
    return int(quantity) if quantity == int(quantity) else quantity


def number(value: Decimal | int) -> str:
    """`1,234.5`"""
    return f"{int(value):,}" if value == int(value) else f"{value:,f}"

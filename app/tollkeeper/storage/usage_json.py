"""Usage as JSON, exact: how it waits in a journal, and how the parts of a row are kept."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tollkeeper.domain.usage import Usage

_COUNTS = (
    "model_id", "tokens_in", "tokens_out", "cached_tokens_in", "cache_write_tokens_in", "reasoning_tokens_out",
)  # fmt: skip


def usage_to_json(usage: Usage) -> dict[str, Any]:
    """The usage in JSON's own types; fractions as strings."""
    value = {
        **{name: getattr(usage, name) for name in _COUNTS},
        "compute_minutes": str(usage.compute_minutes),
        "units": {name: f"{quantity:f}" for name, quantity in usage.units.items()},
    }
    return {**value, "parts": parts_to_json(usage)} if usage.parts else value


def usage_from_json(value: dict[str, Any]) -> Usage:
    """The usage that was written; `KeyError`, `TypeError`, `ArithmeticError` or `InvalidInput` where it is none."""
    return Usage(
        **{name: value[name] for name in _COUNTS},
        compute_minutes=Decimal(value["compute_minutes"]),
        units={name: Decimal(quantity) for name, quantity in value["units"].items()},
        parts=parts_from_json(value.get("parts")),
    )


def usage_from_row(row: Mapping[str, Any]) -> Usage:
    """The usage in a row of `usage_events`; of one that takes another back, the usage that it takes back."""
    sign = 1 if row["reverses"] is None else -1
    return Usage(
        model_id=row["model_id"],
        **{name: sign * row[name] for name in _COUNTS[1:]},
        compute_minutes=sign * row["compute_minutes"],
        units={name: sign * Decimal(quantity) for name, quantity in row["units"].items()},
        parts=parts_from_json(row["parts"]),
    )


def parts_to_json(usage: Usage) -> list[dict[str, Any]] | None:
    """One for each model where there are several; None for the usage of a single model."""
    return [usage_to_json(part) for part in usage.parts] or None


def parts_from_json(value: list[dict[str, Any]] | None) -> tuple[Usage, ...]:
    """What `parts_to_json` wrote."""
    return tuple(usage_from_json(part) for part in value or ())

"""Parameters as Paystack's own description of its API has them: known names and types, or a 400."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tollkeeper.testing.paystack_standin.problem import invalid, not_rehearsed

CURRENCIES = frozenset({"NGN", "GHS", "ZAR", "KES", "USD", "XOF", "EGP", "RWF"})
_REFERENCE = re.compile(r"[A-Za-z0-9.=-]{1,100}")

Check = Callable[[Any], bool]


def text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def amount(value: Any) -> bool:
    """A whole number of the smallest unit, more than nothing."""
    return type(value) is int and 0 < value < 10**12


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def currency(value: Any) -> bool:
    return value in CURRENCIES


def reference(value: Any) -> bool:
    """Letters, digits, `-`, `.` and `=` only."""
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


def instant(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value) is not None
    except ValueError:
        return False


def page(value: Any) -> bool:
    """A number in a query, from 1 on."""
    return isinstance(value, str) and value.isascii() and value.isdigit() and int(value) >= 1


def line_items(value: Any) -> bool:
    """Lines of a name, an amount and, if need be, a quantity."""
    return isinstance(value, list) and all(_line_item(item) for item in value)


def _line_item(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and item.keys() <= {"name", "amount", "quantity"}
        and text(item.get("name"))
        and amount(item.get("amount"))
        and ("quantity" not in item or amount(item["quantity"]))
    )


def check(params: dict[str, Any], known: dict[str, Check | None], needed: str = "") -> None:
    """Refuses parameters that are unknown, missing or of the wrong kind; one without a check is not rehearsed."""
    for name in needed.split():
        if name not in params:
            raise invalid(f"{name} is required")
    for name, value in params.items():
        if name not in known:
            raise invalid(f'"{name}" is not allowed')
        is_right = known[name]
        if is_right is None:
            raise not_rehearsed(f"the parameter {name}")
        if not is_right(value):
            raise invalid(f"{name} is invalid")

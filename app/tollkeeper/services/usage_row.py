"""A row of a usage file: a line of JSON or CSV in, a usage event out, or what is wrong with it.

Nothing is guessed: a key that is no column of `usage_events`, a count that is no plain whole number and a time without an
offset are refused. Columns that are worked out when an event is stored may be there and are not read.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias, cast, get_args
from uuid import UUID

from tollkeeper.domain.customer import validate_user_id
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.event import UsageEvent, UsageState
from tollkeeper.domain.usage import Usage, sum_of_calls
from tollkeeper.services.instants import parse_instant

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
MAX_AHEAD = timedelta(minutes=5)
MAX_TEXT = 2048

_COUNTS = ("tokens_in", "tokens_out", "cached_tokens_in", "cache_write_tokens_in", "reasoning_tokens_out")
_WHOLE_NUMBERS = (*_COUNTS, "latency_ms", "status_code")
_FLAGS = ("estimated", "complete", "billable")
_TEXTS = ("method", "path", "request_id")
_NEEDED = ("id", "user_id", "timestamp", "model_id", "tokens_in", "tokens_out")
_STORED = (*_NEEDED, *_WHOLE_NUMBERS, *_FLAGS, *_TEXTS, "compute_minutes", "units", "parts", "usage_state")
_WORKED_OUT = ("cost_units", "unpriced", "revision", "reverses", "recorded_at")
_COLUMNS = frozenset((*_STORED, *_WORKED_OUT))
_USED = ("model_id", *_COUNTS, "compute_minutes", "units")

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")
_DIGITS = re.compile(r"[0-9]{1,19}")
_DECIMAL = re.compile(r"[0-9]{1,19}(?:\.[0-9]{1,30})?")
_YES_OR_NO = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}

Row: TypeAlias = Mapping[str, Any]
RowReader: TypeAlias = Callable[[str], Row]
"""A line as its values by column; `InvalidInput` where it is none."""


def json_row(line: str) -> Row:
    """The values in a line of JSON, numbers exact."""
    row = _json(line)
    if not isinstance(row, dict):
        raise InvalidInput("row", "a JSON object")
    return row


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_float=_exact, parse_constant=_refuse, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, _RowError) else "it is not"
        raise InvalidInput("row", f"a JSON object on one line, but {reason}") from error


def csv_rows(header: str) -> RowReader:
    """How to read the lines below a header; `InvalidInput` for a header that cannot be used at all."""
    columns = _cells(header)
    for column in columns:
        _check_column(column)
        if columns.count(column) > 1:
            raise InvalidInput(column, "each column once")
    for column in _NEEDED:
        if column not in columns:
            raise InvalidInput(column, "a column of this name in the first line")

    def read(line: str) -> Row:
        cells = _cells(line)
        if len(cells) != len(columns):
            raise InvalidInput("row", f"{len(columns)} values as in the first line, not {len(cells)}")
        return {column: _value(column, cell) for column, cell in zip(columns, cells, strict=True) if cell}

    return read


def event_of(row: Row, now: datetime) -> UsageEvent:
    """The event that a row states, or `InvalidInput` with the first column that is wrong."""
    for column in row:
        _check_column(column)
    for column in _NEEDED:
        if row.get(column) is None:
            raise InvalidInput(column, "a value; it is missing")
    given = {column: value for column, value in row.items() if value is not None}
    return UsageEvent(
        id=_id(given["id"]),
        user_id=validate_user_id(given["user_id"]),
        timestamp=_timestamp(given["timestamp"], now),
        usage=_usage_of_several(given) if given.get("parts") else _usage(given),
        status_code=_within(given.get("status_code"), "status_code", 100, 599),
        latency_ms=_within(given.get("latency_ms"), "latency_ms", 0, 2**31 - 1),
        state=_state(given.get("usage_state", "reported")),
        method=_text(given.get("method"), "method"),
        path=_text(given.get("path"), "path"),
        request_id=_text(given.get("request_id"), "request_id"),
        estimated=_flag(given.get("estimated", False), "estimated"),
        complete=_flag(given.get("complete", True), "complete"),
        billable=_flag(given.get("billable", True), "billable"),
    )


def _usage(given: Row) -> Usage:
    return Usage(
        model_id=given["model_id"],
        compute_minutes=_quantity(given.get("compute_minutes", 0), "compute_minutes"),
        units=_units(given.get("units", {})),
        **{column: given[column] for column in _COUNTS if column in given},
    )


def _usage_of_several(given: Row) -> Usage:
    """What a request to several models used: `parts` has one usage for each, and the row's own counts are their sums."""
    parts = given["parts"]
    if not isinstance(parts, list) or not all(_is_part(part) for part in parts):
        raise InvalidInput("parts", f"a list of objects with model_id and any of {', '.join(_USED[1:])}")
    whole = sum_of_calls([_usage(part) for part in parts])
    stated = _usage(given)
    if any(column in given and getattr(stated, column) != getattr(whole, column) for column in _USED):
        raise InvalidInput("parts", "parts that add up to the row's own counts, the first of them of its model_id")
    return whole


def _is_part(part: Any) -> bool:
    return isinstance(part, dict) and "model_id" in part and set(part) <= {*_USED, "parts"} and not part.get("parts")


class _RowError(ValueError):
    """What the JSON reader is made to stop at."""


def _refuse(constant: str) -> None:
    raise _RowError(f"{constant} is no number of JSON")


def _exact(number: str) -> Decimal:
    """A fraction, exactly; not with an exponent that would make it a thousand digits long."""
    value = Decimal(number)
    if len(number) > 50 or abs(value.adjusted()) > 30:
        raise _RowError("a number in it has too many digits")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise _RowError("a key in it is there twice")
    return row


def _cells(line: str) -> list[str]:
    """The values of one line; no value of ours holds a line break, so a quote ends where its line does."""
    try:
        return next(csv.reader([line.rstrip("\r\n")], strict=True))
    except (csv.Error, StopIteration) as error:
        raise InvalidInput("row", "values separated by commas, with quotes that close on the same line") from error


def _value(column: str, cell: str) -> Any:
    """A cell as JSON would hold it; what it cannot be stays text, and is refused where it is read."""
    if column in _WHOLE_NUMBERS and _DIGITS.fullmatch(cell):
        return int(cell)
    if column in _FLAGS:
        return _YES_OR_NO.get(cell.lower(), cell)
    if column == "parts":
        return _json(cell)
    return dict(json_row(cell)) if column == "units" else cell


def _check_column(column: str) -> None:
    if column not in _COLUMNS:
        shown = "".join(c if c.isprintable() else "?" for c in column[:60])
        raise InvalidInput(shown or "row", "a column of usage_events; this is none")


def _id(value: Any) -> UUID:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise InvalidInput("id", "a UUID")
    return UUID(value)


def _timestamp(value: Any, now: datetime) -> datetime:
    at = parse_instant(value if isinstance(value, str) else "", "timestamp")
    if at > now + MAX_AHEAD:
        raise InvalidInput("timestamp", "a time that is not in the future")
    if at < EARLIEST:
        raise InvalidInput("timestamp", f"a time from {EARLIEST:%Y-%m-%d} on")
    return at


def _quantity(value: Any, field: str) -> Decimal:
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return Decimal(value)
    if type(value) not in (int, Decimal):
        raise InvalidInput(field, "a number from 0, such as 1.5")
    return Decimal(value)


def _units(value: Any) -> dict[str, Decimal]:
    if not isinstance(value, dict):
        raise InvalidInput("units", 'an object such as {"images": 3}')
    return {name: _quantity(quantity, "units") for name, quantity in value.items()}


def _within(value: Any, field: str, least: int, most: int) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        raise InvalidInput(field, f"a whole number from {least} to {most}")
    return value


def _text(value: Any, field: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.isprintable() or len(value) > MAX_TEXT:
        raise InvalidInput(field, f"text of at most {MAX_TEXT} characters without control characters")
    return value


def _flag(value: Any, field: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(field, "true or false")
    return value


def _state(value: Any) -> UsageState:
    if value not in get_args(UsageState):
        raise InvalidInput("usage_state", f"one of {', '.join(get_args(UsageState))}")
    return cast(UsageState, value)

"""The types of arguments that name an instant or a span of time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import click

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.services.instants import parse_instant_or_date


class Instant(click.ParamType[datetime]):
    """ISO 8601 with an offset; a bare date is its first instant in UTC."""

    name = "ISO8601"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return parse_instant_or_date(str(value), "time")
        except InvalidInput as error:
            self.fail(f"{str(value)[:60]!r}: expected {error.expected}", param, ctx)


INSTANT = Instant()


class Span(click.ParamType[timedelta]):
    """A whole number of minutes, hours or days: `30m`, `24h`, `7d`."""

    name = "SPAN"
    _FORM = re.compile(r"([0-9]{1,5})([mhd])")
    _UNITS = {"m": "minutes", "h": "hours", "d": "days"}  # noqa: RUF012 # never changed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = self._FORM.fullmatch(str(value))
        if found is None:
            self.fail(f"{str(value)[:20]!r}: expected a number of minutes, hours or days, such as 24h", param, ctx)
        return timedelta(**{self._UNITS[found[2]]: int(found[1])})


SPAN = Span()

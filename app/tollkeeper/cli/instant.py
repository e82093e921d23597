"""The type of an argument that names an instant."""

from __future__ import annotations

from datetime import datetime
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

"""What addresses of pages carry: ids, and the place in a list to go on from."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from starlette.requests import Request

from tollkeeper.domain.errors import InvalidInput, NotFound
from tollkeeper.domain.period import utc
from tollkeeper.plain import plain
from tollkeeper.storage.invoices import InvoicePlace

T = TypeVar("T")
_LONGEST = 2_048


def invoice_id_in(request: Request) -> UUID:
    """The invoice that the path names; `NotFound` where it cannot be one."""
    text = request.path_params["invoice_id"]
    try:
        return UUID(text)
    except ValueError:
        raise NotFound("invoice", text[:60]) from None


def written_place(place: Sequence[object]) -> str:
    """A place in a list, fit for an address."""
    return base64.urlsafe_b64encode(json.dumps(plain(place), separators=(",", ":")).encode()).decode().rstrip("=")


def read_place(text: str, read: Callable[[list[Any]], T]) -> T:
    """The place that `written_place` wrote; `InvalidInput` for anything else."""
    try:
        if len(text) > _LONGEST:
            raise ValueError
        values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if not isinstance(values, list):
            raise ValueError
        return read(values)
    except (ValueError, TypeError, KeyError):
        raise InvalidInput("after", "what the last page gave to go on from") from None


def invoice_place(text: str | None) -> InvoicePlace | None:
    """A place in a customer's list of invoices."""
    return None if text is None else read_place(text, _invoice_place)


def moment(text: object) -> datetime:
    """An instant out of a place."""
    if not isinstance(text, str):
        raise TypeError
    return utc(datetime.fromisoformat(text), "after")


def _invoice_place(values: list[Any]) -> InvoicePlace:
    start, revision = values
    if type(revision) is not int or not 0 < revision < 2**15:
        raise ValueError
    return moment(start), revision

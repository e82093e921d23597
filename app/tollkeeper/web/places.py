"""What addresses of pages carry: ids, and the place in a list to go on from."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from starlette.requests import Request

from tollkeeper.domain.customer import plain_text
from tollkeeper.domain.errors import InvalidInput, NotFound
from tollkeeper.domain.period import utc
from tollkeeper.plain import plain
from tollkeeper.storage.invoices import InvoicePlace
from tollkeeper.storage.listings import Stamp, WebhookPlace

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
    except (ValueError, TypeError, AttributeError, InvalidInput):
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


def place_in(request: Request, read: Callable[[list[Any]], T]) -> T | None:
    """The place that the address says to go on from; None for the beginning."""
    after = request.query_params.get("after")
    return None if after is None else read_place(after, read)


def search_in(request: Request, name: str = "q") -> str | None:
    """What is searched for; None where nothing is."""
    found = request.query_params.get(name, "").strip()
    return plain_text(found, name) if found else None


def choice_in(request: Request, name: str, choices: Sequence[str]) -> str | None:
    """Which of some choices the address names; None for all."""
    chosen = request.query_params.get(name) or None
    if chosen is not None and chosen not in choices:
        raise InvalidInput(name, f"one of {', '.join(choices)}")
    return chosen


def text(values: list[Any]) -> str:
    """A name out of a place."""
    (name,) = values
    return plain_text(name, "after")


def position(values: list[Any]) -> int:
    """A row's number out of a place."""
    (number,) = values
    if type(number) is not int or not 0 <= number < 2**63:
        raise ValueError
    return number


def stamp(values: list[Any]) -> Stamp:
    """A time and an id out of a place."""
    at, row_id = values
    return moment(at), UUID(row_id)


def webhook_place(values: list[Any]) -> WebhookPlace:
    """Where a webhook event stands, out of a place."""
    at, provider, event_id = values
    return moment(at), plain_text(provider, "after"), plain_text(event_id, "after")

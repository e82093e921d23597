"""Who acts. An edge says it once, and whatever is written in the audit trail meanwhile carries the name.

Like the time it is a matter of the edge and not of the deed: the command line knows the person, a webhook the event, a worker
that nobody asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

MAX_BYTES = 255
NOBODY_NAMED = "app"
"""The host's own code, which calls a service and names nobody."""

_actor: ContextVar[str] = ContextVar("tollkeeper_actor", default=NOBODY_NAMED)


@contextmanager
def acting_as(actor: str) -> Iterator[None]:
    """Within the block `actor` is who acts, such as `cli ada`, `worker` or `stripe evt_…`; threads started by Starlette included."""
    token = _actor.set(actor.encode("utf-8", "replace")[:MAX_BYTES].decode("utf-8", "ignore") or NOBODY_NAMED)
    try:
        yield
    finally:
        _actor.reset(token)


def current_actor() -> str:
    """Who acts now."""
    return _actor.get()

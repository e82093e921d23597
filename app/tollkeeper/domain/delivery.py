"""Deliveries: one notice on its way to one receiver over one channel, and what becomes of an attempt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

ChannelName: TypeAlias = Literal["mail", "slack", "webhook"]
OutcomeKind: TypeAlias = Literal["sent", "put_off", "refused", "dropped"]

CUSTOMER, OPERATOR = "customer", "operator"
"""To whom a mail or a Slack message goes; a webhook goes to an endpoint, by its id."""

MOST_ATTEMPTS = 48
"""About two days, at the waits below; then a person has to say that it is worth another try."""
_SHORTEST_WAIT = timedelta(seconds=30)
_LONGEST_WAIT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to.

    `put_off` is tried again later, `refused` will never be taken as it is, `dropped` has nobody to go to. The detail names no
    mail address and quotes no secret.
    """

    kind: OutcomeKind
    detail: str | None = None
    status: int | None = None
    retry_after: float | None = None
    """Seconds that the other side asked for."""
    gone: bool = False
    """The receiver says that there is nobody any more."""
    system: bool = False
    """It is the channel as a whole that does not work, not this one receiver."""


SENT = Outcome("sent")


def wait_before(attempt: int, retry_after: float | None = None) -> timedelta:
    """How long to wait after that many attempts: twice as long each time, and never less than was asked for, up to an hour."""
    doubled = _SHORTEST_WAIT * (1 << min(max(attempt, 1) - 1, 16))
    asked = timedelta(seconds=min(max(retry_after or 0, 0), _LONGEST_WAIT.total_seconds()))
    return max(min(doubled, _LONGEST_WAIT), asked)

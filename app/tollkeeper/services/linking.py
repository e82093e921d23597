"""Linking: every customer whom Stripe bills is a customer there, made once, whoever tries and whatever gets lost.

The row is committed before the call. After a call whose end is not known the customers made since are looked through for our
own name first, and only when it is not there the same call is made again, under the same idempotency key.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.payments.outcome import Failed, RateLimited, Refused, Trouble
from tollkeeper.payments.stripe_selling import StripeSelling
from tollkeeper.storage.audit import record
from tollkeeper.storage.customers import load_customer
from tollkeeper.storage.database import Database
from tollkeeper.storage.links import (
    Link,
    claim_link,
    due_links,
    name_stripe_customer,
    note_unlinked,
    save_link,
    want_link,
)

log = logging.getLogger(__name__)

LEASE = timedelta(minutes=2)
"""After this a call under way counts as lost with its process."""
_SHORTEST_WAIT = timedelta(seconds=10)
_LONGEST_WAIT = timedelta(minutes=30)


class NotLinkedYet(TollkeeperError):
    """Stripe does not know the customer yet; it is being seen to."""

    transient = True

    def __init__(self, user_id: str) -> None:
        super().__init__(f"customer {user_id!r} is being made at Stripe; try again in a moment")


@dataclass(frozen=True, slots=True)
class Linking:
    """How many customers one run made or found at Stripe, and whether there is more to do at once."""

    linked: int
    more: bool


def link_customers(
    database: Database, selling: StripeSelling, *, now: datetime, collect: str, limit: int = 50
) -> Linking:
    """Make the customers at Stripe whom it is to bill, at most `limit` in a run. `collect` is for plans that do not say."""
    with database.transaction() as connection:
        note_unlinked(connection, collect, now, limit)
        due = due_links(connection, now, limit)
    linked = sum(_link(database, selling, user_id, now) for user_id in due)
    return Linking(linked, more=len(due) == limit and linked > 0)


def linked_customer(database: Database, selling: StripeSelling, user_id: str, now: datetime) -> str:
    """The customer's name at Stripe, made now where there is none; `NotLinkedYet` where that has to wait."""
    with database.transaction() as connection:
        known = load_customer(connection, user_id).stripe_customer_id
        if known is None:
            want_link(connection, user_id, now)
    if known is not None:
        return known
    _link(database, selling, user_id, now, insist=True)
    with database.transaction() as connection:
        known = load_customer(connection, user_id).stripe_customer_id
    if known is None:
        raise NotLinkedYet(user_id)
    return known


def _link(database: Database, selling: StripeSelling, user_id: str, now: datetime, *, insist: bool = False) -> bool:
    with database.transaction() as connection:
        link = claim_link(connection, user_id, now, now + LEASE, insist=insist)
    if link is None:
        return False
    answer = _find_or_make(selling, link)
    if isinstance(answer, Trouble):
        _put_off(database, link, answer, now)
        return False
    _save(database, link, answer, now)
    return True


def _find_or_make(selling: StripeSelling, link: Link) -> str | Trouble:
    """A first call is made at once; whoever comes after one that may have been applied looks first."""
    if link.first_sent_at is not None:
        found = selling.find_customer(link.user_id, link.first_sent_at)
        if found is not None:
            return found
    return selling.make_customer(link.user_id, link.email, _key(link))


def _key(link: Link) -> str:
    return f"customer:{hashlib.sha256(link.user_id.encode()).hexdigest()[:40]}:{link.key_attempt}"


def _save(database: Database, link: Link, stripe_customer_id: str, now: datetime) -> None:
    with database.transaction() as connection:
        if name_stripe_customer(connection, link.user_id, stripe_customer_id):
            after = {"stripe_customer_id": stripe_customer_id}
            record(connection, "customer.linked", link.user_id, now, user_id=link.user_id, after=after)
        else:
            log.error(
                "customer %r is another at Stripe by now; %s is left over there", link.user_id, stripe_customer_id
            )
        save_link(connection, link.user_id, "linked", now, key_attempt=link.key_attempt)


def _put_off(database: Database, link: Link, trouble: Trouble, now: datetime) -> None:
    key_attempt, reason = link.key_attempt, f"{type(trouble).__name__}"
    refused = isinstance(trouble, Refused) and not trouble.about_the_key
    wait = min(_SHORTEST_WAIT * 2 ** min(link.attempts, 10), _LONGEST_WAIT)
    match trouble:
        case Failed(status, replayed=True):
            # The failure is stuck to the key for a day; whether it was applied is looked up before the next attempt.
            key_attempt, reason, wait = key_attempt + 1, f"HTTP {status}, from an earlier attempt", timedelta(0)
        case Failed(status):
            reason = f"HTTP {status}"
        case RateLimited(seconds) if seconds is not None:
            wait = timedelta(seconds=seconds)
        case Refused():
            reason = f"HTTP {trouble.status}: {trouble.message}"[:500]
            # A refusal stays under its key, too.
            key_attempt += 1
    log.log(logging.ERROR if refused else logging.WARNING, "customer %r is not at Stripe yet: %s", link.user_id, reason)
    with database.transaction() as connection:
        state = "refused" if refused else "pending"
        save_link(connection, link.user_id, state, now + wait, key_attempt=key_attempt, error=reason)  # type: ignore[arg-type]

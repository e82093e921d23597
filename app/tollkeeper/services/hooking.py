"""Hooking: name endpoints that webhooks go out to, try them, and read what came of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

from sqlalchemy import Connection

from tollkeeper.clock import Clock
from tollkeeper.domain.customer import validate_user_id
from tollkeeper.domain.delivery import Outcome
from tollkeeper.domain.errors import InvalidInput, NotFound
from tollkeeper.domain.notice import KINDS
from tollkeeper.notify.addresses import check_url
from tollkeeper.notify.slack import check_slack_url
from tollkeeper.notify.webhook import WebhookSender, message, new_secret
from tollkeeper.storage.audit import record
from tollkeeper.storage.customers import load_customer, save_slack_room, slack_room
from tollkeeper.storage.database import Database
from tollkeeper.storage.webhook_endpoints import (
    Attempt,
    Endpoint,
    attempts_at,
    disable_endpoint,
    find_endpoint,
    insert_endpoint,
    list_endpoints,
)

MOST_ENDPOINTS = 16
TEST_KIND = "hook.test"


def add_hook(
    database: Database,
    url: str,
    clock: Clock,
    *,
    user_id: str | None = None,
    kinds: Sequence[str] = (),
    allow_loopback: bool = False,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> Endpoint:
    """A new endpoint for a customer's notices, or for everybody's; with its secret, which is shown this once.

    No `kinds` are all kinds. Raises `InvalidInput`, and `NotFound` for the customer.
    """
    check_url(url, "url", allow_loopback=allow_loopback)
    for kind in kinds:
        if kind not in KINDS:
            raise InvalidInput("kinds", f"some of {', '.join(KINDS)}")
    now = clock.now()
    with database.transaction() as connection:
        if user_id is not None:
            load_customer(connection, validate_user_id(user_id), lock=True)
        used = [
            one for one in list_endpoints(connection, user_id) if one.disabled_at is None and one.user_id == user_id
        ]
        if len(used) >= MOST_ENDPOINTS:
            raise InvalidInput("url", f"at most {MOST_ENDPOINTS} endpoints; remove one first")
        made = Endpoint(uuid4(), user_id, url, new_secret(random), tuple(kinds) or None, now)
        insert_endpoint(connection, made)
        record(connection, "hook.added", str(made.id), now, user_id=user_id, after={"kinds": list(kinds)})
    return made


def all_hooks(database: Database, user_id: str | None = None) -> list[Endpoint]:
    """All endpoints, or one customer's, those that are disabled too."""
    with database.transaction() as connection:
        if user_id is not None:
            load_customer(connection, validate_user_id(user_id))
        return list_endpoints(connection, user_id)


def remove_hook(database: Database, endpoint_id: UUID, clock: Clock) -> bool:
    """Send nothing there any more; False where that was so already. What was sent stays in the log."""
    with database.transaction() as connection:
        endpoint = _load(connection, endpoint_id)
        removed = disable_endpoint(connection, endpoint_id, "removed", clock.now())
        if removed:
            record(connection, "hook.removed", str(endpoint_id), clock.now(), user_id=endpoint.user_id)
    return removed


def try_hook(database: Database, sender: WebhookSender, endpoint_id: UUID, clock: Clock) -> Outcome:
    """Send a message of no consequence now, and what came of it. Nothing is stored."""
    with database.transaction() as connection:
        endpoint, now = _load(connection, endpoint_id), clock.now()
    body = message(TEST_KIND, now, {"user_id": endpoint.user_id})
    return sender.send(endpoint.url, endpoint.secret, f"msg_{uuid4().hex}", now, body)


def hook_log(database: Database, endpoint_id: UUID, limit: int = 100) -> list[Attempt]:
    """The newest attempts at an endpoint, oldest of them first; `NotFound` for one that never was."""
    with database.transaction() as connection:
        _load(connection, endpoint_id)
        return attempts_at(connection, endpoint_id, limit)


def post_to_room(database: Database, user_id: str, url: str | None, clock: Clock) -> None:
    """Post a customer's notices into a Slack room as well, or with None into none any more.

    Raises `InvalidInput` for what is no incoming webhook of Slack's, and `NotFound`.
    """
    url = None if url is None else check_slack_url(url)
    with database.transaction() as connection:
        load_customer(connection, validate_user_id(user_id), lock=True)
        before = slack_room(connection, user_id)
        if before == url:
            return
        save_slack_room(connection, user_id, url)
        # The address of a room is a secret, so only whether there is one stands in the trail.
        was, becomes = {"slack_room": before is not None}, {"slack_room": url is not None}
        record(connection, "customer.changed", user_id, clock.now(), user_id=user_id, before=was, after=becomes)


def has_room(database: Database, user_id: str) -> bool:
    """Whether a customer's notices are posted to Slack."""
    with database.transaction() as connection:
        load_customer(connection, validate_user_id(user_id))
        return slack_room(connection, user_id) is not None


def _load(connection: Connection, endpoint_id: UUID) -> Endpoint:
    endpoint = find_endpoint(connection, endpoint_id)
    if endpoint is None:
        raise NotFound("hook", str(endpoint_id))
    return endpoint

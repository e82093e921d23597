"""Identifying: which customer a request is from, by the host app's own word, by API key, or by a session that a key began.

A session is a signed note in a cookie: who, which key, until when. It is signed with the hash of that key, which only the
database has; so it needs no secret of its own, is good in every process, and ends when the key is revoked.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime
from typing import Any, TypeAlias

from tollkeeper.domain.account import CustomerUnknown
from tollkeeper.domain.customer import validate_user_id
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.keys import hash_key, key_prefix
from tollkeeper.services.signing import read_note, signed
from tollkeeper.storage.database import Database
from tollkeeper.storage.keys import keys_of, owner_of_key

Scope: TypeAlias = MutableMapping[str, Any]
Identify: TypeAlias = Callable[[Scope], str | Awaitable[str | None] | None]

KEY_BYTES = 512
"""A longer credential is nobody's: ours are far shorter."""
SESSION_SECONDS = 3_600


async def named_by_host(identify: Identify, scope: Scope) -> str | None:
    """The customer as the host app's own function names them; None where it names nobody, or what cannot be a name."""
    found = identify(scope)
    user_id = await found if inspect.isawaitable(found) else found
    try:
        return None if user_id is None else validate_user_id(user_id)
    except InvalidInput:
        return None


def api_key_in(scope: Scope) -> str | None:
    """The API key in `Authorization: Bearer` or `X-API-Key`, if it can be one of ours at all."""
    key = _presented(scope)
    if key is None or len(key) > KEY_BYTES or not key.isascii():
        return None
    return key.decode("ascii")


def customer_of_key(database: Database, key: str, now: datetime) -> str:
    """Whose key this is; `CustomerUnknown` for one that is nobody's, or revoked."""
    with database.transaction() as connection:
        user_id = owner_of_key(connection, hash_key(key), now)
    if user_id is None:
        raise CustomerUnknown
    return user_id


def begin_session(database: Database, key: str, now: datetime) -> str:
    """A note for a cookie that stands for this key for an hour; `CustomerUnknown` as above."""
    user_id = customer_of_key(database, key, now)
    return signed([user_id, key_prefix(key), int(now.timestamp()) + SESSION_SECONDS], hash_key(key))


def customer_of_session(database: Database, session: str, now: datetime) -> str:
    """Whose session this is; `CustomerUnknown` for one that is forged or over, or whose key is revoked."""
    try:
        note = read_note(session)
        user_id, prefix, until = note.values
        validate_user_id(user_id)
        over = now.timestamp() >= int(until)
    except (InvalidInput, ValueError, TypeError):
        raise CustomerUnknown from None
    if over:
        raise CustomerUnknown
    with database.transaction() as connection:
        keys = [key for key in keys_of(connection, user_id) if key.prefix == prefix and key.works(now)]
    if not any(note.is_signed_with(key.key_hash) for key in keys):
        raise CustomerUnknown
    return str(user_id)


def _presented(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return bytes(value[7:].strip())
        if name == b"x-api-key":
            return bytes(value.strip())
    return None

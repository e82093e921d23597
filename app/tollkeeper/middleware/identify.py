"""Who is asking: by default an API key, in `Authorization: Bearer` or `X-API-Key`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

from starlette.types import Scope

from tollkeeper.domain.account import CustomerUnknown
from tollkeeper.domain.customer import validate_user_id
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.keys import hash_key
from tollkeeper.services.metering import Caller

Identify = Callable[[Scope], str | Awaitable[str | None] | None]

KEY_BYTES = 512
"""A longer credential is nobody's: ours are far shorter."""


def caller_by_key(scope: Scope) -> Caller:
    """The caller by API key; `CustomerUnknown` where there is none, or one that cannot be ours."""
    key = _api_key(scope)
    if key is None or len(key) > KEY_BYTES:
        raise CustomerUnknown
    try:
        return Caller(key_hash=hash_key(key.decode("ascii")))
    except UnicodeDecodeError:
        raise CustomerUnknown from None


async def caller_by_host(identify: Identify, scope: Scope) -> Caller:
    """The caller as the host app's own function names them."""
    found = identify(scope)
    user_id = await found if inspect.isawaitable(found) else found
    if user_id is None:
        raise CustomerUnknown
    try:
        return Caller(user_id=validate_user_id(user_id))
    except InvalidInput:
        raise CustomerUnknown from None


def _api_key(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return bytes(value[7:].strip())
        if name == b"x-api-key":
            return bytes(value.strip())
    return None

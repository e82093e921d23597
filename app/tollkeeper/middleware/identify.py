"""Who is asking: by default an API key, in `Authorization: Bearer` or `X-API-Key`."""

from __future__ import annotations

from starlette.types import Scope

from tollkeeper.domain.account import CustomerUnknown
from tollkeeper.domain.keys import hash_key
from tollkeeper.services.identifying import Identify, api_key_in, named_by_host
from tollkeeper.storage.memory import Caller


def caller_by_key(scope: Scope) -> Caller:
    """The caller by API key; `CustomerUnknown` where there is none, or one that cannot be ours."""
    key = api_key_in(scope)
    if key is None:
        raise CustomerUnknown
    return hash_key(key)


async def caller_by_host(identify: Identify, scope: Scope) -> Caller:
    """The caller as the host app's own function names them."""
    user_id = await named_by_host(identify, scope)
    if user_id is None:
        raise CustomerUnknown
    return user_id

"""Who may look: the customer by the host app's login, by API key or by a session."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from tollkeeper.domain.account import CustomerUnknown
from tollkeeper.runtime import Runtime
from tollkeeper.services.identifying import (
    Identify,
    api_key_in,
    customer_of_key,
    customer_of_session,
    named_by_host,
)

SESSION_COOKIE = "tollkeeper_session"


class CustomerGuard:
    """Names the customer of a request, or raises `CustomerUnknown`. With `identify` the host app alone decides."""

    def __init__(self, runtime: Runtime, identify: Identify | None) -> None:
        self._runtime = runtime
        self._identify = identify

    @property
    def by_key(self) -> bool:
        """Whether customers sign in with us, by their API key."""
        return self._identify is None

    async def customer(self, request: Request) -> str:
        """The customer who is looking."""
        if self._identify is not None:
            user_id = await named_by_host(self._identify, request.scope)
            if user_id is None:
                raise CustomerUnknown
            return user_id
        return await run_in_threadpool(self._by_credential, request)

    def _by_credential(self, request: Request) -> str:
        key = api_key_in(request.scope)
        if key is not None:
            return customer_of_key(self._runtime.database, key, self._runtime.clock.now())
        session = request.cookies.get(SESSION_COOKIE)
        if session is None:
            raise CustomerUnknown
        return customer_of_session(self._runtime.database, session, self._runtime.clock.now())

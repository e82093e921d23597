"""Who may work at the desk: whom the host app names, or who shows the token that the settings name."""

from __future__ import annotations

from starlette.requests import Request

from tollkeeper.domain.errors import NotFound
from tollkeeper.runtime import Runtime
from tollkeeper.services.operating import (
    Operator,
    OperatorUnknown,
    named_operator,
    operator_by_header,
    operator_of_session,
)

DESK_COOKIE = "tollkeeper_desk"


class DeskGuard:
    """Names the operator of a request, or raises `OperatorUnknown`; without token and callable there is no desk at all."""

    def __init__(self, runtime: Runtime, operator: Operator | None) -> None:
        self._runtime = runtime
        self._operator = operator

    @property
    def by_token(self) -> bool:
        """Whether operators sign in with us, by the token."""
        return self._operator is None

    @property
    def token(self) -> str:
        """The token; `NotFound` where none is set."""
        token = self._runtime.settings.admin_token
        if token is None:
            raise NotFound("page", "admin")
        return token.get_secret_value()

    async def operator(self, request: Request) -> str:
        """Who is looking, by the name that the audit trail keeps."""
        if self._operator is not None:
            return await named_operator(self._operator, request.scope)
        named = operator_by_header(self.token, request.scope)
        if named is not None:
            return named
        session = request.cookies.get(DESK_COOKIE)
        if session is None:
            raise OperatorUnknown
        return operator_of_session(self.token, session, self._runtime.clock.now())

"""What the operator does: each a form of one of the desk's pages, in the operator's name, with a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeAlias
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tollkeeper.acting import acting_as
from tollkeeper.domain.customer import validate_user_id
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.period import utc
from tollkeeper.runtime import Runtime
from tollkeeper.services.approving import approve
from tollkeeper.services.operating import SESSION_SECONDS, OperatorUnknown, begin_desk_session
from tollkeeper.services.releasing import release
from tollkeeper.services.voiding import redraft, void
from tollkeeper.web.desk.guard import DESK_COOKIE, DeskGuard
from tollkeeper.web.places import invoice_id_in
from tollkeeper.web.rendering import Renderer
from tollkeeper.web.security import base_of, checked_form, drop_cookie, secured, set_cookie

Form: TypeAlias = Mapping[str, str]
_SIGN_IN = {
    "title": "Operator's desk",
    "hint": "Sign in with the token from TOLLKEEPER_ADMIN_TOKEN. You stay signed in for eight hours.",
    "label": "Token",
    "action": "/admin/sign-in",
    "ask_name": True,
}


class DeskDeeds:
    """The forms of the desk."""

    def __init__(self, runtime: Runtime, guard: DeskGuard, renderer: Renderer, refresh: Callable[[], None]) -> None:
        self._runtime = runtime
        self._guard = guard
        self._renderer = renderer
        self._refresh = refresh

    async def approve(self, request: Request) -> Response:
        """Let a draft go on."""
        return await self._done(request, "invoices", "approved", self._approve)

    async def void(self, request: Request) -> Response:
        """Void a draft for good."""
        return await self._done(request, "invoices", "voided", self._void)

    async def redraft(self, request: Request) -> Response:
        """Draft an invoice anew."""
        return await self._done(request, "invoices", "redrafted", self._redraft)

    async def release(self, request: Request) -> Response:
        """Let the next close take up a parked period."""
        return await self._done(request, "parked", "released", self._release)

    async def refresh(self, request: Request) -> Response:
        """Add the figures up anew."""
        return await self._done(request, "", "refreshed", lambda *_: self._refresh())

    async def sign_in(self, request: Request) -> Response:
        """Exchange the token for a session."""
        token = self._guard.token if self._guard.by_token else None
        form = await checked_form(request)
        if token is None:
            raise OperatorUnknown
        try:
            now = self._runtime.clock.now()
            session = begin_desk_session(token, form.get("secret", "").strip(), form.get("name", "").strip(), now)
        except OperatorUnknown:
            return self.ask_to_sign_in(request, "That is not the token.")
        except InvalidInput:
            return self.ask_to_sign_in(request, "Please give your name.")
        response = RedirectResponse(f"{base_of(request)}/admin/", status_code=303)
        set_cookie(request, response, DESK_COOKIE, session, SESSION_SECONDS)
        return secured(response)

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        await checked_form(request)
        response = RedirectResponse(f"{base_of(request)}/admin/", status_code=303)
        drop_cookie(request, response, DESK_COOKIE)
        return secured(response)

    def ask_to_sign_in(self, request: Request, error: str | None = None) -> Response:
        """The form that asks for the token."""
        return self._renderer.page(request, "sign_in.html", status=401, error=error, **_SIGN_IN)

    async def _done(
        self, request: Request, back: str, done: str, deed: Callable[[Request, Form, str], None]
    ) -> Response:
        """Do it in the operator's name, and go back to the list with a word that it is done."""
        operator = await self._guard.operator(request)
        form = await checked_form(request)
        with acting_as(f"desk {operator}"):
            await run_in_threadpool(deed, request, form, operator)
        return secured(
            RedirectResponse(f"{base_of(request)}/admin/{back}?{urlencode({'done': done})}", status_code=303)
        )

    def _approve(self, request: Request, form: Form, operator: str) -> None:
        approve(self._runtime.database, invoice_id_in(request), by=operator, reason=_reason(form), now=self._now())

    def _void(self, request: Request, form: Form, operator: str) -> None:
        void(self._runtime.database, invoice_id_in(request), by=operator, reason=_reason(form), now=self._now())

    def _redraft(self, request: Request, form: Form, operator: str) -> None:
        redraft(
            self._runtime.database,
            invoice_id_in(request),
            by=operator,
            reason=_reason(form),
            now=self._now(),
            collect=self._runtime.settings.collect,
        )

    def _release(self, request: Request, form: Form, operator: str) -> None:
        release(
            self._runtime.database,
            validate_user_id(form.get("user_id", "")),
            _instant(form.get("period_start", "")),
            by=operator,
            reason=_reason(form),
            now=self._now(),
        )

    def _now(self) -> datetime:
        return self._runtime.clock.now()


def _reason(form: Form) -> str:
    return form.get("reason", "").strip()


def _instant(text: str) -> datetime:
    try:
        return utc(datetime.fromisoformat(text), "period_start")
    except ValueError:
        raise InvalidInput("period_start", "an instant such as 2026-11-01T00:00:00Z") from None

"""What a page and the API answer when something is wrong: one table from error to status and sentence."""

from __future__ import annotations

import logging
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tollkeeper.domain.account import CustomerUnknown
from tollkeeper.domain.errors import InvalidInput, NotFound, StoreUnavailable, TollkeeperError
from tollkeeper.services.exporting import EventsArchived
from tollkeeper.services.operating import OperatorUnknown
from tollkeeper.web.rendering import Renderer
from tollkeeper.web.security import FormForged, FormTooLarge, secured

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[TollkeeperError], int], ...] = (
    (CustomerUnknown, 401),
    (OperatorUnknown, 401),
    (NotFound, 404),
    (InvalidInput, 400),
    (FormForged, 403),
    (EventsArchived, 410),
    (FormTooLarge, 413),
    (StoreUnavailable, 503),
)
_SAID = {
    400: ("That address is not right", "Something in it is not what was expected. Go back and try from there."),
    401: ("Please sign in", "Sign in to see usage and invoices."),
    403: ("That form is out of date", "Load its page again and send it once more."),
    404: ("There is nothing here", "It does not exist, or it belongs to somebody else."),
    409: ("That cannot be done", "Something else has happened meanwhile."),
    410: (
        "These events are archived",
        "They are kept, but not here any more; ask us for them. Invoices stay as they are.",
    ),
    413: ("That is too large", "The form holds more than it can."),
    503: ("One moment, please", "The database does not answer just now. Nothing is lost; try again in a minute."),
    500: ("Something went wrong", "It has been noted."),
}


def status_of(error: Exception) -> int:
    """The HTTP status that an error becomes."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 409)


SignIn = Callable[[Request], Response]


class Failing:
    """Answers for errors. People get a page, programs a problem document."""

    def __init__(
        self,
        renderer: Renderer,
        *,
        customer_sign_in: SignIn | None,
        operator_sign_in: SignIn | None,
        sign_in_url: str | None,
    ) -> None:
        self._renderer = renderer
        self._customer_sign_in = customer_sign_in
        self._operator_sign_in = operator_sign_in
        self._sign_in_url = sign_in_url

    async def answer(self, request: Request, error: Exception) -> Response:
        """The answer for one of our own errors."""
        status = status_of(error)
        if status == 409:
            log.warning("%s %s: %s", request.method, request.url.path, error)
        if "/api/" in request.url.path:
            return self._problem(error, status)
        sign_in = self._operator_sign_in if isinstance(error, OperatorUnknown) else self._customer_sign_in
        if status == 401 and sign_in is not None:
            return sign_in(request)
        return self._page(request, error, status)

    def _page(self, request: Request, error: Exception, status: int) -> Response:
        title, text = _SAID[status]
        if status in (400, 409):
            text = str(error)
        link = self._sign_in_url if status == 401 else None
        response = self._renderer.page(
            request, "message.html", status=status, title=title, text=text, link_url=link, link_text="Sign in"
        )
        return _come_again(response, status)

    def _problem(self, error: Exception, status: int) -> Response:
        code = error.code if isinstance(error, TollkeeperError) else "error"
        title, text = _SAID[status]
        said = str(error) if status in (400, 404) else text
        response = problem(status, code, title, said)
        if status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return _come_again(response, status)


def problem(status: int, code: str, title: str, said: str) -> Response:
    """A problem document, as programs read it."""
    body = {
        "type": f"urn:tollkeeper:{code}",
        "title": title,
        "status": status,
        "detail": said,
        "code": code,
        "error": {"message": said, "type": code, "code": code},
    }
    return secured(JSONResponse(body, status_code=status, media_type="application/problem+json"))


def _come_again(response: Response, status: int) -> Response:
    if status == 503:
        response.headers["Retry-After"] = "5"
    return response

"""What every page says to the browser, and how it knows that a form was its own."""

from __future__ import annotations

import hmac
import secrets

from starlette.requests import Request
from starlette.responses import Response

from tollkeeper.domain.errors import TollkeeperError

CSRF_COOKIE = "tollkeeper_form"
CSRF_FIELD = "form_token"
MOST_FORM_BYTES = 16_384


class FormForged(TollkeeperError):
    """The form was not sent from our own page, or its page is too old: reload it and send it again."""


class FormTooLarge(TollkeeperError):
    """The form is larger than any of ours."""


_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def secured(response: Response) -> Response:
    """The answer with headers that let it load nothing from elsewhere, run nothing, and stand in nobody's frame."""
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=()"
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def base_of(request: Request) -> str:
    """Where the host app mounted us, without a slash at the end."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def set_cookie(request: Request, response: Response, name: str, value: str, seconds: int | None = None) -> None:
    """A cookie that no script reads and no other site sends, for our own paths; until the browser closes without `seconds`."""
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=base_of(request) or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def drop_cookie(request: Request, response: Response, name: str) -> None:
    """Take a cookie back."""
    response.delete_cookie(name, path=base_of(request) or "/", httponly=True, samesite="strict")


def form_token(request: Request) -> str:
    """What the forms of this page carry: the browser's own token, or a new one that `remember_form` hands out."""
    if not hasattr(request.state, CSRF_COOKIE):
        known = request.cookies.get(CSRF_COOKIE, "")
        setattr(request.state, CSRF_COOKIE, known if 32 <= len(known) <= 64 else secrets.token_urlsafe(32))
    return str(getattr(request.state, CSRF_COOKIE))


def remember_form(request: Request, response: Response) -> None:
    """Leave the token of the forms on this page with the browser, where it has none yet."""
    token = form_token(request)
    if request.cookies.get(CSRF_COOKIE) != token:
        set_cookie(request, response, CSRF_COOKIE, token)


async def checked_form(request: Request) -> dict[str, str]:
    """The fields of a form that one of our own pages sent; `FormForged` or `FormTooLarge` otherwise."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise FormForged("sent from another site")
    size = 0
    parts = []
    async for part in request.stream():
        size += len(part)
        if size > MOST_FORM_BYTES:
            raise FormTooLarge("too large")
        parts.append(part)
    fields = _fields(b"".join(parts))
    cookie, field = request.cookies.get(CSRF_COOKIE, ""), fields.pop(CSRF_FIELD, "")
    if not cookie or not hmac.compare_digest(cookie.encode(), field.encode()):
        raise FormForged("its page is too old")
    return fields


def _fields(body: bytes) -> dict[str, str]:
    from urllib.parse import parse_qsl

    try:
        return dict(parse_qsl(body.decode(), max_num_fields=50, errors="strict"))
    except ValueError:
        raise FormForged("not a form") from None

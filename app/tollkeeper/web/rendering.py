"""Pages out of templates, in the host app's name and colours and the reader's language."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from tollkeeper.domain.currency import display, display_price
from tollkeeper.plain import instant, number
from tollkeeper.web.security import CSRF_FIELD, base_of, form_token, remember_form, secured
from tollkeeper.web.strings import Catalogues, Strings

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_YEAR_SECONDS = 31_536_000


@dataclass(frozen=True)
class Appearance:
    """What a host app can change about the looks: its name, a style sheet that comes after ours, its own sentences."""

    brand: str = "Usage and billing"
    home_url: str | None = None
    stylesheet: Path | None = None
    strings: Catalogues = field(default_factory=dict)


class Renderer:
    """Makes the answers of one mounted app."""

    def __init__(self, appearance: Appearance) -> None:
        self._appearance = appearance
        self._strings = Strings(appearance.strings)
        style = (files("tollkeeper.web") / "static" / "tollkeeper.css").read_bytes()
        if appearance.stylesheet is not None:
            style += b"\n" + appearance.stylesheet.read_bytes()
        self._style = style
        self._icon = (files("tollkeeper.web") / "static" / "icon.svg").read_bytes()
        self.style_name = f"tollkeeper-{hashlib.sha256(style).hexdigest()[:12]}.css"
        self._templates = Environment(
            loader=PackageLoader("tollkeeper.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(money=display, price=display_price, number=number, instant=instant)
        self._templates.globals.update(form_field=CSRF_FIELD, short=short)

    def page(self, request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
        """A page of ours as an answer."""
        response = HTMLResponse(self.html(request, template, **values), status_code=status)
        remember_form(request, response)
        return secured(response)

    def html(self, request: Request, template: str, **values: Any) -> str:
        """The page itself."""
        language = self._language(request)
        say = partial(self._strings.say, language)
        return self._templates.get_template(template).render(
            t=say,
            language=language,
            base=base_of(request),
            brand=self._appearance.brand,
            home_url=self._appearance.home_url,
            style_name=self.style_name,
            form_token=form_token(request),
            date=partial(_date, say),
            moment=partial(_moment, say),
            **values,
        )

    def sayer_for(self, request: Request) -> Callable[..., str]:
        """Says sentences in the reader's language."""
        return partial(self._strings.say, self._language(request))

    def _language(self, request: Request) -> str:
        return self._strings.language_for(request.headers.get("accept-language", ""))

    async def style(self, request: Request) -> Response:
        """The style sheet. Its name changes with it, so it may be kept for ever."""
        kept = f"public, max-age={_YEAR_SECONDS}, immutable"
        return secured(Response(self._style, media_type="text/css", headers={"Cache-Control": kept}))

    async def icon(self, request: Request) -> Response:
        """The picture in the browser's tab."""
        kept = "public, max-age=86400"
        return secured(Response(self._icon, media_type="image/svg+xml", headers={"Cache-Control": kept}))


def short(value: Decimal | int) -> str:
    """`1.13M`: three figures of a large number, cut off, never rounded up to a limit that is not reached."""
    for size, letter in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            hundredths = int(value * 100 // size)
            places = 2 if hundredths < 1_000 else 1 if hundredths < 10_000 else 0
            text = f"{Decimal(hundredths // 10 ** (2 - places)).scaleb(-places):f}"
            return (text.rstrip("0").rstrip(".") if places else text) + letter
    return number(value)


def _date(say: Callable[..., str], at: datetime, *, year: bool = True) -> str:
    """`1 Nov 2026`, in UTC."""
    at = at.astimezone(UTC)
    day = f"{at.day} {say(MONTHS[at.month - 1])}"
    return f"{day} {at.year}" if year else day


def _moment(say: Callable[..., str], at: datetime) -> str:
    """`1 Nov 2026, 14:05 UTC`."""
    return f"{_date(say, at)}, {at.astimezone(UTC):%H:%M} UTC"

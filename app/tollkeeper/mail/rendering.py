"""What each notice says.

A notice is two templates: `<kind>.txt`, whose first line is `Subject: …`, and `<kind>.html`. A folder of the operator's
own templates goes before the ones of this package, file by file. Templates get plain values and these filters:
`grouped` (1,234,567), `money(currency)`, `moment` (1 December 2026, 00:00 UTC).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import datetime, time
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, PackageLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tollkeeper.domain.currency import display
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.period import Period, utc
from tollkeeper.domain.quota import THRESHOLDS
from tollkeeper.mail.errors import MailTemplateBroken
from tollkeeper.mail.message import Mail

AtCap = Literal["block", "throttle", "warn"]

_SUBJECT = "Subject: "
# Written out because strftime answers in the language of the machine.
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
# Line breaks, control characters, lone surrogates, and the marks that make text run backwards.
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


def render_quota_alert(
    *,
    user_id: str,
    email: str,
    plan_name: str,
    threshold: int,
    used_tokens: int,
    quota_tokens: int,
    period_start: datetime,
    period_end: datetime,
    spent: int | None,
    spend_cap: int | None,
    currency: str,
    upgrade_url: str | None,
    usage_url: str | None,
    templates_dir: Path | None = None,
) -> Mail:
    """The notice that 50, 80 or 100 % of the quota are used.

    Its `Message-ID` depends on user, period, threshold and quota: an attempt repeated is the same mail, the threshold
    crossed again under a larger quota is another one. Money is in minor units.
    """
    if threshold not in THRESHOLDS:
        raise InvalidInput("threshold", "50, 80 or 100")
    if quota_tokens < 1:
        raise InvalidInput("quota_tokens", "a whole number above 0")
    return _render(
        "quota_alert",
        email,
        key=(user_id, utc(period_start, "period_start").isoformat(), threshold, quota_tokens),
        templates_dir=templates_dir,
        values={
            "user_id": user_id,
            "plan_name": plan_name,
            "threshold": threshold,
            "used_tokens": used_tokens,
            "quota_tokens": quota_tokens,
            "left_tokens": max(0, quota_tokens - used_tokens),
            "percent": used_tokens * 100 // quota_tokens,
            **_period(period_start, period_end),
            "spent": spent,
            "spend_cap": spend_cap,
            "currency": currency,
            "upgrade_url": _link("upgrade_url", upgrade_url),
            "usage_url": _link("usage_url", usage_url),
        },
    )


def render_spend_cap_alert(
    *,
    reached: bool,
    user_id: str,
    email: str,
    plan_name: str,
    at_cap: AtCap,
    spent: int,
    spend_cap: int,
    currency: str,
    period_start: datetime,
    period_end: datetime,
    upgrade_url: str | None,
    usage_url: str | None,
    templates_dir: Path | None = None,
) -> Mail:
    """The notice that usage charges come near the spend cap or have reached it, and what happens there.

    One mail for each user, period and cap: a cap raised and reached again is another mail. Money is in minor units.
    """
    return _render(
        "spend_cap_reached" if reached else "spend_cap_near",
        email,
        key=(user_id, utc(period_start, "period_start").isoformat(), spend_cap, currency),
        templates_dir=templates_dir,
        values={
            "user_id": user_id,
            "plan_name": plan_name,
            "at_cap": at_cap,
            "spent": spent,
            "spend_cap": spend_cap,
            "percent": spent * 100 // spend_cap if spend_cap else 100,
            "currency": currency,
            **_period(period_start, period_end),
            "upgrade_url": _link("upgrade_url", upgrade_url),
            "usage_url": _link("usage_url", usage_url),
        },
    )


def render_invoice(
    *,
    finalized: bool,
    user_id: str,
    email: str,
    invoice_id: str,
    lines: Sequence[tuple[str, int]],
    total_amount: int,
    currency: str,
    period_start: datetime,
    period_end: datetime,
    invoice_url: str | None,
    templates_dir: Path | None = None,
) -> Mail:
    """The notice that an invoice is drafted or, when `finalized`, due.

    `lines` are descriptions with their amounts, in the invoice's order; amounts are in minor units.
    """
    return _render(
        "invoice_finalized" if finalized else "invoice_draft_ready",
        email,
        key=(invoice_id, total_amount, currency),
        templates_dir=templates_dir,
        values={
            "user_id": user_id,
            "invoice_id": invoice_id,
            "lines": tuple((_one_line(description), amount) for description, amount in lines),
            "total_amount": total_amount,
            "currency": currency,
            **_period(period_start, period_end),
            "invoice_url": _link("invoice_url", invoice_url),
        },
    )


def render_payment_failed(
    *,
    user_id: str,
    email: str,
    invoice_id: str,
    attempt: int,
    total_amount: int,
    currency: str,
    next_attempt_at: datetime | None,
    payment_url: str | None,
    templates_dir: Path | None = None,
) -> Mail:
    """The notice that collecting an invoice failed. `attempt` counts from 1; each has a mail of its own."""
    return _render(
        "payment_failed",
        email,
        key=(invoice_id, attempt),
        templates_dir=templates_dir,
        values={
            "user_id": user_id,
            "invoice_id": invoice_id,
            "attempt": attempt,
            "total_amount": total_amount,
            "currency": currency,
            "next_attempt_at": next_attempt_at,
            "payment_url": _link("payment_url", payment_url),
        },
    )


def _render(
    kind: str, to: str, *, key: Sequence[str | int], templates_dir: Path | None, values: dict[str, object]
) -> Mail:
    clean = {name: _one_line(value) if isinstance(value, str) else value for name, value in values.items()}
    head, _, text = _filled(f"{kind}.txt", templates_dir, clean).lstrip().partition("\n")
    subject = _one_line(head.removeprefix(_SUBJECT))
    if not head.startswith(_SUBJECT) or not subject:
        raise MailTemplateBroken(f"{kind}.txt", f"the first line must begin with {_SUBJECT!r} and say something")
    html = _filled(f"{kind}.html", templates_dir, {**clean, "subject": subject})
    # A sentence left out leaves its blank lines behind.
    text = re.sub(r"\n{3,}", "\n\n", text.strip()) + "\n"
    return Mail(to=to, subject=subject, text=text, html=html, message_id=_digest(kind, *key))


def _filled(name: str, templates_dir: Path | None, values: dict[str, object]) -> str:
    try:
        return _environment(templates_dir).get_template(name).render(values)
    except TemplateError as error:
        raise MailTemplateBroken(name, error.message or type(error).__name__) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, UnicodeError) as error:
        # A template's own slip. Its text may hold a customer's data, so only its kind is told.
        raise MailTemplateBroken(name, type(error).__name__) from error


@cache
def _environment(templates_dir: Path | None) -> ImmutableSandboxedEnvironment:
    """Sandboxed also for our own templates: one environment, and a value never becomes code."""
    loaders: list[BaseLoader] = [PackageLoader("tollkeeper.mail", "templates")]
    if templates_dir is not None:
        if not templates_dir.is_dir():
            raise InvalidInput("templates_dir", "a folder that exists")
        loaders.insert(0, FileSystemLoader(templates_dir))
    environment = ImmutableSandboxedEnvironment(
        loader=ChoiceLoader(loaders),
        autoescape=lambda name: name is None or not name.endswith(".txt"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(grouped=_grouped, money=display, moment=_moment)
    return environment


def _grouped(number: int) -> str:
    return f"{number:,}"


def _moment(instant: datetime) -> str:
    instant = utc(instant)
    return f"{_day(instant)}, {instant:%H:%M} UTC"


def _day(instant: datetime) -> str:
    return f"{instant.day} {_MONTHS[instant.month - 1]} {instant.year}"


def _period(start: datetime, end: datetime) -> dict[str, object]:
    """Both ends as they are, and as people say it: whole days by their first and last."""
    period = Period(start, end)
    whole_days = period.start.time() == period.end.time() == time(0)
    if whole_days:
        spoken = f"{_day(period.start)} to {_day(period.last_second)} (UTC)"
    else:
        spoken = f"{_moment(period.start)} to {_moment(period.end)}"
    return {"period_start": period.start, "period_end": period.end, "period": spoken}


def _one_line(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text).strip()


def _link(name: str, url: str | None) -> str | None:
    """Escaping does not make a `javascript:` address harmless, so only web addresses pass."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or _UNPRINTABLE.search(url):
        raise InvalidInput(name, "a http or https address")
    return url


def _digest(*parts: str | int) -> str:
    """The same for the same parts, and silent about what they are."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

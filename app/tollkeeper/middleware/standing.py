"""What an admitted customer is told in the headers of every answer: spend, cap, quota, and when they start anew."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from tollkeeper.domain.pricing import FINE
from tollkeeper.services.admitting import Admission

Header = tuple[bytes, bytes]


def standing_headers(admission: Admission) -> list[Header]:
    """Headers as of the admission; amounts are whole minor units of `Tollkeeper-Currency`."""
    account = admission.account
    plan = account.plan
    spent = admission.spent // FINE
    headers = [(b"tollkeeper-spent", b"%d" % spent), *_fixed(plan.currency, account.period.end, plan.spend_cap)]
    if plan.spend_cap is not None and spent >= plan.spend_cap:
        headers.append((b"tollkeeper-spend-cap-reached", b"true"))
    quota = plan.quota
    if quota is not None:
        headers.append((b"tollkeeper-quota-remaining", b"%d" % max(0, quota - account.tokens)))
    limit = admission.rate_limit
    if limit is not None:
        headers.append((b"ratelimit", b'"requests";r=%d' % max(0, admission.left)))
        headers.append((b"ratelimit-policy", b'"requests";q=%d;w=%d' % (limit.requests, limit.seconds)))
    return headers


@lru_cache(1024)
def _fixed(currency: str, period_end: datetime, cap: int | None) -> tuple[Header, ...]:
    """What is the same in many answers."""
    headers = [
        (b"tollkeeper-currency", currency.encode()),
        (b"tollkeeper-period-end", period_end.isoformat().encode()),
    ]
    return tuple(headers if cap is None else [*headers, (b"tollkeeper-spend-cap", b"%d" % cap)])

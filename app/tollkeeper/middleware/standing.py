"""What an admitted customer is told in the headers of every answer: spend, cap, quota, and when they start anew."""

from __future__ import annotations

from decimal import ROUND_FLOOR

from tollkeeper.services.metering import Admission

Header = tuple[bytes, bytes]


def standing_headers(admission: Admission) -> list[Header]:
    """Headers as of the admission; amounts are whole minor units of `Tollkeeper-Currency`."""
    account = admission.account
    plan = account.plan
    spent = int(admission.spent.to_integral_value(ROUND_FLOOR))
    headers = [
        (b"tollkeeper-spent", b"%d" % spent),
        (b"tollkeeper-currency", plan.currency.encode()),
        (b"tollkeeper-period-end", account.period.end.isoformat().encode()),
    ]
    if plan.spend_cap is not None:
        headers.append((b"tollkeeper-spend-cap", b"%d" % plan.spend_cap))
        if spent >= plan.spend_cap:
            headers.append((b"tollkeeper-spend-cap-reached", b"true"))
    quota = plan.quota
    if quota is not None:
        headers.append((b"tollkeeper-quota-remaining", b"%d" % max(0, quota - account.tokens)))
    limit = admission.rate_limit
    if limit is not None:
        headers.append((b"ratelimit", b'"requests";r=%d' % max(0, admission.left)))
        headers.append((b"ratelimit-policy", b'"requests";q=%d;w=%d' % (limit.requests, limit.seconds)))
    return headers

"""How a refusal is told: one table from error codes to statuses, and one body for people, OpenAI and Anthropic clients."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

from starlette.types import Send

from tollkeeper.domain.account import CustomerInactive, CustomerUnknown
from tollkeeper.domain.errors import StoreUnavailable, TollkeeperError
from tollkeeper.domain.refusal import ModelUnpriced, RateLimited, SpendCapReached

STORE_RETRY_SECONDS = 5

_STATUS = {
    CustomerUnknown.code: (401, "authentication_error"),
    CustomerInactive.code: (401, "authentication_error"),
    SpendCapReached.code: (402, "billing_error"),
    ModelUnpriced.code: (400, "invalid_request_error"),
    RateLimited.code: (429, "rate_limit_error"),
    StoreUnavailable.code: (503, "api_error"),
}
_TITLE = {
    400: "Model without a price",
    401: "API key not accepted",
    402: "Spend cap reached",
    429: "Too many requests",
    503: "Billing is not available",
}


async def send_refusal(send: Send, error: TollkeeperError, now: datetime, request_id: str | None = None) -> None:
    """Answer with the refusal's status, the caller's own `X-Request-Id` in it; an error without a status rises again."""
    if error.code not in _STATUS:
        raise error
    status, kind = _STATUS[error.code]
    message = _message(error)
    body = {
        "type": f"urn:tollkeeper:{error.code}",
        "title": _TITLE[status],
        "status": status,
        "detail": message,
        "code": error.code,
        "error": {"message": message, "type": kind, "code": error.code},
        **({} if request_id is None else {"request_id": request_id}),
        **_facts(error),
    }
    data = json.dumps(body).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(data)).encode()),
        (b"cache-control", b"no-store"),
        *_headers(error, now),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


def _message(error: TollkeeperError) -> str:
    if isinstance(error, StoreUnavailable):
        return "Usage cannot be recorded right now. Try again in a few seconds."
    return str(error)


def _facts(error: TollkeeperError) -> dict[str, Any]:
    if not isinstance(error, SpendCapReached):
        return {}
    return {
        "spent": error.spent,
        "held": error.held,
        "cap": error.cap,
        "currency": error.currency,
        "period_end": error.period_end.isoformat(),
        "upgrade_url": error.upgrade_url,
    }


def _headers(error: TollkeeperError, now: datetime) -> list[tuple[bytes, bytes]]:
    if isinstance(error, SpendCapReached):
        return [_retry_after((error.period_end - now).total_seconds())]
    if isinstance(error, StoreUnavailable):
        return [_retry_after(STORE_RETRY_SECONDS)]
    if isinstance(error, RateLimited):
        wait = _whole_seconds(error.wait_seconds)
        return [
            _retry_after(wait),
            (b"ratelimit", f'"requests";r=0;t={wait}'.encode()),
            (b"ratelimit-policy", f'"requests";q={error.limit};w={error.window_seconds}'.encode()),
        ]
    return []


def _retry_after(seconds: float) -> tuple[bytes, bytes]:
    return (b"retry-after", str(_whole_seconds(seconds)).encode())


def _whole_seconds(seconds: float) -> int:
    return max(1, math.ceil(seconds))

"""Webhooks in: bounded, verified, stored, answered."""

from __future__ import annotations

import logging

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tollkeeper.domain.errors import StoreUnavailable, TollkeeperError
from tollkeeper.payments.stripe import livemode_of
from tollkeeper.runtime import Runtime
from tollkeeper.services.receiving import receive_stripe

log = logging.getLogger(__name__)

MOST_BYTES = 1_000_000


class BodyTooLarge(TollkeeperError):
    """The body is larger than any webhook."""


class StripeWebhook:
    """`POST /webhooks/stripe`: 200 once stored, 400 for what is not Stripe's, 413 over a megabyte, 503 while the database is away."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def post(self, request: Request) -> Response:
        """Take one event."""
        secret = self._runtime.settings.stripe_webhook_secret
        if secret is None:
            return _refused(404, "no_webhook_secret", "STRIPE_WEBHOOK_SECRET is not set")
        try:
            body = await _bounded_body(request)
            header = request.headers.get("stripe-signature")
            await run_in_threadpool(self._receive, body, header, secret.get_secret_value())
        except BodyTooLarge as error:
            return _refused(413, error.code, f"the body is over {MOST_BYTES} bytes")
        except StoreUnavailable as error:
            return _refused(503, error.code, "try again later")
        except TollkeeperError as error:
            return _refused(400, error.code, str(error))
        return JSONResponse({"received": True})

    def _receive(self, body: bytes, header: str | None, secret: str) -> None:
        key = self._runtime.settings.stripe_api_key
        livemode = None if key is None else livemode_of(key.get_secret_value())
        receive_stripe(self._runtime.database, body, header, secret, now=self._runtime.clock.now(), livemode=livemode)


async def _bounded_body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise BodyTooLarge("too large")
        parts.append(part)
    return b"".join(parts)


def _refused(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)

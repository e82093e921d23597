"""Webhooks in: bounded, verified, stored, answered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import SecretStr
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tollkeeper.domain.errors import StoreUnavailable, TollkeeperError
from tollkeeper.payments.stripe import livemode_of
from tollkeeper.runtime import Runtime
from tollkeeper.services.receiving import Received, apply_webhook, receive_paystack, receive_stripe

MOST_BYTES = 1_000_000


class BodyTooLarge(TollkeeperError):
    """The body is larger than any webhook."""


class Webhook(ABC):
    """An endpoint: 200 once stored, 400 for what is not the sender's, 413 over a megabyte, 503 while the database is away."""

    header: ClassVar[str]
    set_by: ClassVar[str]

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    @abstractmethod
    def _secret(self) -> SecretStr | None: ...

    @abstractmethod
    def _receive(self, body: bytes, header: str | None, secret: str) -> Received: ...

    async def post(self, request: Request) -> Response:
        """Take one event."""
        secret = self._secret
        if secret is None:
            return _refused(404, "no_webhook_secret", f"{self.set_by} is not set")
        try:
            body = await _bounded_body(request)
            header = request.headers.get(self.header)
            received = await run_in_threadpool(self._receive, body, header, secret.get_secret_value())
        except BodyTooLarge as error:
            return _refused(413, error.code, f"the body is over {MOST_BYTES} bytes")
        except StoreUnavailable as error:
            return _refused(503, error.code, "try again later")
        except TollkeeperError as error:
            return _refused(400, error.code, str(error))
        return JSONResponse({"received": True}, background=self._afterwards(received))

    def _afterwards(self, received: Received) -> BackgroundTask | None:
        """What is done once the sender has its answer: nothing, unless an endpoint says otherwise."""
        return None


class StripeWebhook(Webhook):
    """`POST /webhooks/stripe`."""

    header = "stripe-signature"
    set_by = "STRIPE_WEBHOOK_SECRET"

    @property
    def _secret(self) -> SecretStr | None:
        return self._runtime.settings.stripe_webhook_secret

    def _receive(self, body: bytes, header: str | None, secret: str) -> Received:
        key = self._runtime.settings.stripe_api_key
        livemode = None if key is None else livemode_of(key.get_secret_value())
        now = self._runtime.clock.now()
        return receive_stripe(self._runtime.database, body, header, secret, now=now, livemode=livemode, at_once=False)

    def _afterwards(self, received: Received) -> BackgroundTask | None:
        """The event is applied, for which Stripe may have to be asked; a worker does so where this process dies first."""
        return BackgroundTask(self._apply, received.event_id)

    def _apply(self, event_id: str) -> None:
        own = self._runtime
        apply_webhook(own.database, "stripe", event_id, now=own.clock.now(), side=own.payment_side)


class PaystackWebhook(Webhook):
    """`POST /webhooks/paystack`. Paystack signs with the API key itself."""

    header = "x-paystack-signature"
    set_by = "PAYSTACK_SECRET_KEY"

    @property
    def _secret(self) -> SecretStr | None:
        return self._runtime.settings.paystack_secret_key

    def _receive(self, body: bytes, header: str | None, secret: str) -> Received:
        return receive_paystack(self._runtime.database, body, header, secret, now=self._runtime.clock.now())


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

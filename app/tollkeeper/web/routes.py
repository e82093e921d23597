"""The sub-app for `app.mount("/billing", billing_routes())`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Route

from tollkeeper.web.health import Health
from tollkeeper.web.metrics import Metrics
from tollkeeper.web.webhooks import StripeWebhook

if TYPE_CHECKING:
    from tollkeeper.clock import Clock
    from tollkeeper.settings import Settings


def billing_routes(*, settings: Settings | None = None, clock: Clock | None = None) -> Starlette:
    """Webhook endpoints, health and metrics. Settings come from the environment unless given."""
    from tollkeeper.runtime import Runtime

    runtime = Runtime(settings, clock=clock)
    health = Health(runtime)
    return Starlette(
        routes=[
            Route("/webhooks/stripe", StripeWebhook(runtime).post, methods=["POST"]),
            Route("/healthz", health.alive, methods=["GET"]),
            Route("/readyz", health.ready, methods=["GET"]),
            Route("/metrics", Metrics(runtime).get, methods=["GET"]),
        ]
    )

"""The sub-app for `app.mount("/billing", billing_routes())`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route

from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.services.identifying import Identify
from tollkeeper.web.health import Health
from tollkeeper.web.metrics import Metrics
from tollkeeper.web.webhooks import PaystackWebhook, StripeWebhook

if TYPE_CHECKING:
    from tollkeeper.clock import Clock
    from tollkeeper.runtime import Runtime
    from tollkeeper.settings import Settings
    from tollkeeper.web.account import CustomerPages
    from tollkeeper.web.api import CustomerApi
    from tollkeeper.web.rendering import Renderer
    from tollkeeper.web.strings import Catalogues


def billing_routes(
    *,
    settings: Settings | None = None,
    clock: Clock | None = None,
    identify: Identify | None = None,
    sign_in_url: str | None = None,
    brand: str = "Usage and billing",
    home_url: str | None = None,
    stylesheet: str | Path | None = None,
    strings: Catalogues | None = None,
) -> Starlette:
    """The customer's pages and API, the operator's desk, webhook endpoints and health.

    Settings come from the environment unless given. `identify(scope)` names the customer who is looking, as it does for the
    middleware; without it customers sign in with their API key. `sign_in_url` is the host app's own login, shown to who is
    not signed in there. `brand`, `home_url`, `stylesheet` (a file of CSS that comes after ours) and `strings` (by language,
    English sentence to sentence) make the pages the host app's own.
    """
    from tollkeeper.runtime import Runtime
    from tollkeeper.web.account import CustomerPages
    from tollkeeper.web.api import CustomerApi
    from tollkeeper.web.failing import Failing
    from tollkeeper.web.guard import CustomerGuard
    from tollkeeper.web.rendering import Appearance, Renderer

    runtime = Runtime(settings, clock=clock)
    sheet = None if stylesheet is None else Path(stylesheet)
    renderer = Renderer(Appearance(brand, home_url, sheet, strings or {}))
    guard = CustomerGuard(runtime, identify)
    pages = CustomerPages(runtime, guard, renderer)
    failing = Failing(renderer, pages.ask_to_sign_in if guard.by_key else None, sign_in_url)
    return Starlette(
        routes=[
            *_machine_routes(runtime),
            *_customer_routes(pages, CustomerApi(runtime, guard)),
            *_asset_routes(renderer),
        ],
        exception_handlers={TollkeeperError: failing.answer},
    )


def _machine_routes(runtime: Runtime) -> list[BaseRoute]:
    health = Health(runtime)
    return [
        Route("/webhooks/stripe", StripeWebhook(runtime).post, methods=["POST"]),
        Route("/webhooks/paystack", PaystackWebhook(runtime).post, methods=["POST"]),
        Route("/healthz", health.alive, methods=["GET"]),
        Route("/readyz", health.ready, methods=["GET"]),
        Route("/metrics", Metrics(runtime).get, methods=["GET"]),
    ]


def _customer_routes(pages: CustomerPages, api: CustomerApi) -> list[BaseRoute]:
    return [
        Route("/", pages.usage),
        Route("/events.csv", pages.events),
        Route("/invoices", pages.invoices),
        Route("/invoices/{invoice_id}", pages.invoice),
        Route("/invoices/{invoice_id}/events.csv", pages.invoice_events),
        Route("/sign-in", pages.sign_in, methods=["POST"]),
        Route("/sign-out", pages.sign_out, methods=["POST"]),
        Route("/api/usage", api.usage),
        Route("/api/invoices", api.invoices),
        Route("/api/invoices/{invoice_id}", api.invoice),
        Route("/openapi.json", api.description),
    ]


def _asset_routes(renderer: Renderer) -> list[BaseRoute]:
    return [
        Route(f"/static/{renderer.style_name}", renderer.style),
        Route("/static/icon.svg", renderer.icon),
    ]

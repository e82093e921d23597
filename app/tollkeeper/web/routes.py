"""The sub-app for `app.mount("/billing", billing_routes())`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route

from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.services.identifying import Identify
from tollkeeper.services.operating import Operator
from tollkeeper.web.health import Health
from tollkeeper.web.metrics import Metrics
from tollkeeper.web.webhooks import PaystackWebhook, StripeWebhook

if TYPE_CHECKING:
    from tollkeeper.clock import Clock
    from tollkeeper.runtime import Runtime
    from tollkeeper.settings import Settings
    from tollkeeper.web.account import CustomerPages
    from tollkeeper.web.api import CustomerApi
    from tollkeeper.web.checkout import Checkout
    from tollkeeper.web.rendering import Renderer
    from tollkeeper.web.strings import Catalogues


def billing_routes(
    *,
    settings: Settings | None = None,
    clock: Clock | None = None,
    identify: Identify | None = None,
    operator: Operator | None = None,
    sign_in_url: str | None = None,
    brand: str = "Usage and billing",
    home_url: str | None = None,
    stylesheet: str | Path | None = None,
    strings: Catalogues | None = None,
) -> Starlette:
    """The customer's pages and API, the operator's desk, webhook endpoints and health.

    Settings come from the environment unless given. `identify(scope)` names the customer who is looking, as it does for the
    middleware; without it customers sign in with their API key. `sign_in_url` is the host app's own login, shown to who is
    not signed in there. `operator(scope)` names who works at the desk under `/admin`, for the audit trail, or answers None;
    without it that is whoever has TOLLKEEPER_ADMIN_TOKEN, and without either there is no desk. `brand`, `home_url`,
    `stylesheet` (a file of CSS that comes after ours) and `strings` (by language, English sentence to sentence) make the
    pages the host app's own.
    """
    from tollkeeper.runtime import Runtime
    from tollkeeper.web.account import CustomerPages
    from tollkeeper.web.api import CustomerApi
    from tollkeeper.web.checkout import Checkout
    from tollkeeper.web.desk.deeds import DeskDeeds
    from tollkeeper.web.desk.guard import DeskGuard
    from tollkeeper.web.desk.pages import DeskPages
    from tollkeeper.web.desk.routes import desk_routes
    from tollkeeper.web.failing import Failing
    from tollkeeper.web.guard import CustomerGuard
    from tollkeeper.web.rendering import Appearance, Renderer

    runtime = Runtime(settings, clock=clock)
    sheet = None if stylesheet is None else Path(stylesheet)
    renderer = Renderer(Appearance(brand, home_url, sheet, strings or {}))
    guard = CustomerGuard(runtime, identify)
    pages = CustomerPages(runtime, guard, renderer)
    checkout = Checkout(runtime, guard, renderer)
    desk_guard = DeskGuard(runtime, operator)
    desk = DeskPages(runtime, desk_guard, renderer)
    deeds = DeskDeeds(runtime, desk_guard, renderer, desk.refresh)
    failing = Failing(
        renderer,
        customer_sign_in=pages.ask_to_sign_in if guard.by_key else None,
        operator_sign_in=deeds.ask_to_sign_in if desk_guard.by_token else None,
        sign_in_url=sign_in_url,
    )
    return Starlette(
        routes=[
            *_machine_routes(runtime),
            *_customer_routes(pages, CustomerApi(runtime, guard)),
            *_checkout_routes(checkout),
            *desk_routes(desk, deeds),
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


def _checkout_routes(checkout: Checkout) -> list[BaseRoute]:
    return [
        Route("/api/checkout", checkout.start, methods=["POST"]),
        Route("/api/checkout/claim", checkout.claim, methods=["POST"]),
        Route("/api/portal", checkout.portal_address, methods=["POST"]),
        Route("/checkout", checkout.leave, methods=["POST"]),
        Route("/checkout/done", checkout.done, methods=["GET"]),
        Route("/checkout/done", checkout.show_key, methods=["POST"]),
        Route("/portal", checkout.portal, methods=["GET"]),
    ]


def _asset_routes(renderer: Renderer) -> list[BaseRoute]:
    return [
        Route(f"/static/{renderer.style_name}", renderer.style),
        Route("/static/icon.svg", renderer.icon),
    ]

"""The billing routes alone, for a deployment that serves webhooks apart from the host app."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Mount

from tollkeeper.web.routes import billing_routes


def create_app() -> Starlette:
    """`/billing` and nothing else; settings come from the environment."""
    return Starlette(routes=[Mount("/billing", billing_routes())])

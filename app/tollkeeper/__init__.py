"""tollkeeper: metering, spend caps, tiered invoices and Stripe reporting for AI APIs, inside your own app and database."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tollkeeper.clock import Clock, SystemClock
    from tollkeeper.domain.errors import InvalidInput, TollkeeperError
    from tollkeeper.middleware.metering import MeteringMiddleware
    from tollkeeper.middleware.usage_record import record_usage
    from tollkeeper.settings import Settings
    from tollkeeper.web.routes import billing_routes

__version__ = "0.1.0"
__all__ = [
    "Clock",
    "InvalidInput",
    "MeteringMiddleware",
    "Settings",
    "SystemClock",
    "TollkeeperError",
    "billing_routes",
    "record_usage",
]

# Where each public name lives. They are imported when first used, so that a worker does not load the web side, nor a web
# process what only the command line needs.
_HOMES = {
    "Clock": "tollkeeper.clock",
    "InvalidInput": "tollkeeper.domain.errors",
    "MeteringMiddleware": "tollkeeper.middleware.metering",
    "Settings": "tollkeeper.settings",
    "SystemClock": "tollkeeper.clock",
    "TollkeeperError": "tollkeeper.domain.errors",
    "billing_routes": "tollkeeper.web.routes",
    "record_usage": "tollkeeper.middleware.usage_record",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

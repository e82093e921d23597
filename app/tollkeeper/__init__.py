"""tollkeeper: metering, spend caps, tiered invoices and Stripe reporting for AI APIs, inside your own app and database."""

from __future__ import annotations

from tollkeeper.clock import Clock, SystemClock
from tollkeeper.domain.errors import InvalidInput, TollkeeperError
from tollkeeper.middleware.metering import MeteringMiddleware
from tollkeeper.middleware.usage_record import record_usage
from tollkeeper.settings import Settings
from tollkeeper.web import billing_routes

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
__version__ = "0.1.0"

"""The API's resources, one file each: operations, and the `ROUTES` that lead to them. A new file gets a line here."""

from tollkeeper.testing.stripe_standin.resources import (
    customers,
    invoices,
    meter_event_summaries,
    meter_events,
    meters,
    prices,
    products,
)

ROUTES = (
    *customers.ROUTES,
    *invoices.ROUTES,
    *meters.ROUTES,
    *meter_events.ROUTES,
    *meter_event_summaries.ROUTES,
    *prices.ROUTES,
    *products.ROUTES,
)

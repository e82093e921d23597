"""The API's resources, one file each: operations, and the `ROUTES` that lead to them. A new file gets a line here."""

from tollkeeper.testing.stripe_standin.resources import (
    checkout,
    customers,
    events,
    invoice_items,
    invoice_payments,
    invoices,
    meter_event_summaries,
    meter_events,
    meters,
    payment_methods,
    portal,
    prices,
    products,
    subscriptions,
    test_clocks,
    webhook_endpoints,
)

ROUTES = (
    *checkout.ROUTES,
    *customers.ROUTES,
    *events.ROUTES,
    *invoice_items.ROUTES,
    *invoice_payments.ROUTES,
    *invoices.ROUTES,
    *meters.ROUTES,
    *meter_events.ROUTES,
    *meter_event_summaries.ROUTES,
    *payment_methods.ROUTES,
    *portal.ROUTES,
    *prices.ROUTES,
    *products.ROUTES,
    *subscriptions.ROUTES,
    *test_clocks.ROUTES,
    *webhook_endpoints.ROUTES,
)

"""Stripe's side of the catalog: finding what stands there, and making what does not.

Whatever is made is found again by a name of ours (the product's id, the price's lookup key, the meter's event name, a mark in
the metadata), so an answer that got lost costs nothing but another look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.payments.catalog import WantedPrice
from tollkeeper.payments.stripe import StripePayments, StripeRefused

if TYPE_CHECKING:
    import stripe

Result = TypeVar("Result")

MARK = "tollkeeper"
FINGERPRINT = "tollkeeper_fingerprint"
_PAGE = 100

PORTAL_FEATURES: dict[str, Any] = {
    "customer_update": {"enabled": True, "allowed_updates": ["address", "name", "tax_id"]},
    "invoice_history": {"enabled": True},
    "payment_method_update": {"enabled": True},
    # With metered prices Stripe's portal offers no switching; a plan is changed by checking out another one.
    "subscription_cancel": {"enabled": True, "mode": "at_period_end"},
}
SNAPSHOT_EVENTS = (
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.refunded",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.updated",
    "invoice.created",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.voided",
    "test_helpers.test_clock.ready",
)
"""What our endpoint asks Stripe to send."""
THIN_EVENTS = ("v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found")
"""What comes as thin events only, and so needs an endpoint of its own at Stripe."""


class PermissionMissing(TollkeeperError):
    """The API key may not do something; `permission` is what it has to be given."""

    def __init__(self, permission: str, said: str) -> None:
        super().__init__(
            f"the Stripe key lacks a permission: give it {permission} (Dashboard, Developers, API keys). Stripe says: {said}"
        )
        self.permission = permission


@dataclass(frozen=True, slots=True)
class Standing:
    """An object at Stripe. `fingerprint` is what it was made with, `secret` what only its making tells."""

    id: str
    fingerprint: str
    active: bool = True
    secret: str | None = None


class StripeCatalog:
    """Meters, products, prices, the portal and the endpoints of one account."""

    def __init__(self, stripe: StripePayments) -> None:
        self._stripe = stripe

    @property
    def livemode(self) -> bool:
        return self._stripe.livemode

    def find_meter(self, event_name: str) -> Standing | None:
        """The active meter for events of this name."""
        with_name = self._ask("Billing meters: Read", lambda _: self._stripe.meter_id_for(event_name))
        return None if with_name is None else Standing(with_name, event_name)

    def make_meter(self, event_name: str) -> Standing:
        made = self._ask(
            "Billing meters: Write",
            lambda client: client.v1.billing.meters.create(
                {
                    "display_name": event_name,
                    "event_name": event_name,
                    "default_aggregation": {"formula": "sum"},
                    "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
                    "value_settings": {"event_payload_key": "value"},
                }
            ),
        )
        return Standing(made.id, event_name)

    def find_product(self, product_id: str) -> Standing | None:
        found = self._ask(
            "Products: Read", lambda client: client.v1.products.list({"ids": [product_id], "limit": 1}).data
        )
        return Standing(found[0].id, found[0].name, found[0].active) if found else None

    def make_product(self, product_id: str, name: str, plan_id: str) -> Standing:
        made = self._ask(
            "Products: Write",
            lambda client: client.v1.products.create(
                {"id": product_id, "name": name, "metadata": {"tollkeeper_plan": plan_id}}
            ),
        )
        return Standing(made.id, made.name)

    def rename_product(self, product_id: str, name: str) -> Standing:
        """Under its new name, and on sale again if it was archived."""
        made = self._ask(
            "Products: Write", lambda client: client.v1.products.update(product_id, {"name": name, "active": True})
        )
        return Standing(made.id, made.name)

    def find_price(self, lookup_key: str) -> Standing | None:
        found = self._ask(
            "Prices: Read", lambda client: client.v1.prices.list({"lookup_keys": [lookup_key], "limit": 1}).data
        )
        if not found:
            return None
        return Standing(found[0].id, _metadata(found[0]).get(FINGERPRINT, ""), found[0].active)

    def make_price(self, wanted: WantedPrice, product: str, meter: str | None) -> Standing:
        """A new price that takes over the lookup key of the one before."""
        recurring = wanted.params["recurring"] | ({} if meter is None else {"meter": meter})
        params: Any = {
            **wanted.params,
            "recurring": recurring,
            "product": product,
            "nickname": f"{wanted.plan_id} {wanted.part}",
            "lookup_key": wanted.lookup_key,
            "transfer_lookup_key": True,
            "metadata": {"tollkeeper_plan": wanted.plan_id, FINGERPRINT: wanted.fingerprint},
        }
        made = self._ask("Prices: Write", lambda client: client.v1.prices.create(params))
        return Standing(made.id, wanted.fingerprint)

    def archive_price(self, price_id: str) -> None:
        """No new subscription can use it; those that do go on."""
        self._ask("Prices: Write", lambda client: client.v1.prices.update(price_id, {"active": False}))

    def find_portal(self) -> Standing | None:
        """Our configuration of the customer portal."""
        found = self._ask(
            "Customer portal: Read",
            lambda client: _marked(
                client.v1.billing_portal.configurations.list({"active": True, "limit": _PAGE}).auto_paging_iter()
            ),
        )
        return None if found is None else Standing(found.id, _metadata(found).get(FINGERPRINT, ""))

    def make_portal(self, fingerprint: str, return_url: str | None, known: str | None = None) -> Standing:
        """The configuration as it is to be; `known` is the one to change."""
        params: Any = {
            "features": PORTAL_FEATURES,
            "metadata": {MARK: "portal", FINGERPRINT: fingerprint},
            **({} if return_url is None else {"default_return_url": return_url}),
        }
        portal = "Customer portal: Write"
        if known is None:
            made = self._ask(portal, lambda client: client.v1.billing_portal.configurations.create(params))
        else:
            made = self._ask(portal, lambda client: client.v1.billing_portal.configurations.update(known, params))
        return Standing(made.id, fingerprint)

    def find_webhook(self) -> Standing | None:
        """Our endpoint for snapshot events; its fingerprint is what it is now, not what it was made as."""
        found = self._ask(
            "Webhook endpoints: Read",
            lambda client: _marked(client.v1.webhook_endpoints.list({"limit": _PAGE}).auto_paging_iter()),
        )
        if found is None:
            return None
        now = webhook_fingerprint(found.url, found.enabled_events, found.api_version)
        return Standing(found.id, now, found.status == "enabled")

    def make_webhook(self, url: str) -> Standing:
        """An endpoint that gets events in the shape of the SDK's own version; the one time that its secret is told."""
        import stripe

        params: Any = {
            "url": url,
            "enabled_events": list(SNAPSHOT_EVENTS),
            "api_version": stripe.api_version,
            "description": "tollkeeper",
            "metadata": {MARK: "webhook"},
        }
        made = self._ask("Webhook endpoints: Write", lambda client: client.v1.webhook_endpoints.create(params))
        return Standing(made.id, webhook_fingerprint(url, SNAPSHOT_EVENTS, stripe.api_version), secret=made.secret)

    def drop_webhook(self, endpoint_id: str) -> None:
        self._ask("Webhook endpoints: Write", lambda client: client.v1.webhook_endpoints.delete(endpoint_id))

    def find_thin_webhook(self) -> Standing | None:
        """Our destination for thin events; where it leads is in its metadata, because Stripe does not tell it again."""
        found = self._ask(
            "Event destinations: Read",
            lambda client: _marked(client.v2.core.event_destinations.list({"limit": _PAGE}).auto_paging_iter()),
        )
        if found is None:
            return None
        return Standing(found.id, _metadata(found).get(FINGERPRINT, ""), found.status == "enabled")

    def make_thin_webhook(self, url: str) -> Standing:
        fingerprint = webhook_fingerprint(url, THIN_EVENTS, None)
        params: Any = {
            "name": "tollkeeper",
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": list(THIN_EVENTS),
            "webhook_endpoint": {"url": url},
            "include": ["webhook_endpoint.signing_secret"],
            "metadata": {MARK: "thin_webhook", FINGERPRINT: fingerprint},
        }
        made = self._ask("Event destinations: Write", lambda client: client.v2.core.event_destinations.create(params))
        secret = None if made.webhook_endpoint is None else made.webhook_endpoint.signing_secret
        return Standing(made.id, fingerprint, secret=secret)

    def drop_thin_webhook(self, destination_id: str) -> None:
        self._ask("Event destinations: Write", lambda client: client.v2.core.event_destinations.delete(destination_id))

    def _ask(self, permission: str, call: Callable[[stripe.StripeClient], Result]) -> Result:
        """The answer; a key that may not ask is told what it lacks."""
        try:
            return self._stripe.ask(call)
        except StripeRefused as error:
            if error.outcome.status == 403:
                raise PermissionMissing(permission, error.outcome.message) from error
            raise


def webhook_fingerprint(url: str, events: Iterable[str], api_version: str | None) -> str:
    """What an endpoint is: another one is made where this changes."""
    return f"{url} {api_version or '-'} {','.join(sorted(events))}"


def _marked(found: Iterable[Any]) -> Any | None:
    return next((one for one in found if MARK in _metadata(one)), None)


def _metadata(one: Any) -> dict[str, Any]:
    return one.metadata.to_dict() if one.metadata else {}

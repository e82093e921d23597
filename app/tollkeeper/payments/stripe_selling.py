"""Stripe as the place where customers subscribe: who they are there, the page they pay on, what they agreed to.

Everything that is made carries our own name for it in its metadata and is looked for by listing, which is up to date at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from tollkeeper.payments.invoice_event import FIRST_FEE
from tollkeeper.payments.outcome import OutcomeUnknown, Trouble
from tollkeeper.payments.stripe import StripePayments, StripeRefused

if TYPE_CHECKING:
    import stripe

Result = TypeVar("Result")

OUR_USER = "tollkeeper_user_id"
OUR_PLAN = "tollkeeper_plan"
OUR_CHECKOUT = "tollkeeper_checkout"

_PAGE = 100
_CLOCKS_DISAGREE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class SoldSubscription:
    """A subscription as it stands at Stripe."""

    id: str
    customer: str
    status: str
    items: Mapping[str, str]
    """Its items, by the price of each."""
    period_start: datetime | None
    period_end: datetime | None
    anchor: datetime
    started_at: datetime
    cancel_at_period_end: bool
    metadata: Mapping[str, str]

    @property
    def prices(self) -> tuple[str, ...]:
        return tuple(self.items)

    @property
    def began_with_a_stub(self) -> bool:
        """Whether its first time, until the first full period, was free."""
        return self.started_at < self.anchor


@dataclass(frozen=True, slots=True)
class SoldSession:
    """A checkout session as it stands at Stripe."""

    id: str
    status: str
    payment_status: str
    subscription: str | None
    metadata: Mapping[str, str]

    @property
    def settled(self) -> bool:
        """Whether the customer went through with it and nothing of the payment is open."""
        return self.status == "complete" and self.payment_status in ("paid", "no_payment_required")


class StripeSelling:
    """Customers, checkout, the portal and subscriptions of one account."""

    def __init__(self, payments: StripePayments) -> None:
        self._payments = payments

    @property
    def livemode(self) -> bool:
        return self._payments.livemode

    def find_customer(self, user_id: str, since: datetime) -> str | Trouble | None:
        """The customer that carries our name for them and was made after about `since`."""
        return self._payments.attempt(
            lambda client: _with(
                client.v1.customers.list(
                    {"created": {"gte": int((since - _CLOCKS_DISAGREE).timestamp())}, "limit": _PAGE}
                ).auto_paging_iter(),
                OUR_USER,
                user_id,
            )
        )

    def make_customer(self, user_id: str, email: str | None, key: str) -> str | Trouble:
        """A new customer's id."""
        params: Any = {"metadata": {OUR_USER: user_id}, **({} if email is None else {"email": email})}
        return self._id(
            self._payments.attempt(lambda client: client.v1.customers.create(params, {"idempotency_key": key}))
        )

    def open_checkout(self, params: dict[str, Any], key: str) -> tuple[str, str]:
        """A session's id and the address of its page; raises `StripeRefused` or `StripeDidNotAnswer`."""
        made = self._payments.ask(
            lambda client: client.v1.checkout.sessions.create(params, {"idempotency_key": key})  # type: ignore[arg-type]
        )
        return made.id, str(made.url)

    def open_portal(self, customer: str, configuration: str, return_url: str | None) -> str:
        """The address of a customer's way into the portal: good once and for minutes, and nobody else's business."""
        params: Any = {"customer": customer, "configuration": configuration}
        if return_url is not None:
            params["return_url"] = return_url
        return self._payments.ask(lambda client: client.v1.billing_portal.sessions.create(params).url)

    def session(self, session_id: str) -> SoldSession | None:
        """A checkout session as it stands now, None where Stripe knows none; raises `StripeDidNotAnswer`."""
        return self._known(lambda client: _session(client.v1.checkout.sessions.retrieve(session_id)))

    def subscription(self, subscription_id: str) -> SoldSubscription | None:
        """A subscription as it stands now, None where Stripe knows none; raises `StripeDidNotAnswer`."""
        return self._known(lambda client: _subscription(client.v1.subscriptions.retrieve(subscription_id)))

    def has_draft(self, customer: str) -> bool:
        """Whether an invoice of the customer's waits to be finalized: its usage is not counted yet."""
        found = self._payments.ask(
            lambda client: client.v1.invoices.list({"customer": customer, "status": "draft", "limit": 1}).data
        )
        return bool(found)

    def change_items(self, subscription_id: str, items: list[dict[str, Any]]) -> None:
        """Other prices from now on; nothing of the open period is prorated."""
        params: Any = {"items": items, "proration_behavior": "none"}
        self._payments.ask(lambda client: client.v1.subscriptions.update(subscription_id, params))

    def invoice_paid_by(self, payment_intent: str) -> str | None:
        """The invoice that a payment was for."""
        payment: Any = {"type": "payment_intent", "payment_intent": payment_intent}
        found = self._payments.ask(
            lambda client: client.v1.invoice_payments.list({"payment": payment, "limit": 1}).data
        )
        return None if not found else _id_of(found[0].invoice)

    def events_since(self, types: Sequence[str], since: datetime) -> list[dict[str, Any]]:
        """All that happened since an instant, oldest first; Stripe keeps 30 days of it."""
        params: Any = {"types": list(types), "created": {"gte": int(since.timestamp())}, "limit": _PAGE}
        found = self._payments.ask(
            lambda client: [one.to_dict(for_json=True) for one in client.v1.events.list(params).auto_paging_iter()]
        )
        return found[::-1]

    def thin_event(self, event_id: str) -> dict[str, Any] | None:
        """What a thin event is about, None where Stripe knows none."""
        return self._known(lambda client: client.v2.core.events.retrieve(event_id).to_dict(for_json=True))

    def first_fee_item(self, customer: str, subscription_id: str) -> str | None:
        """The invoice item for the fee of the time before the first full period."""
        return self._payments.ask(
            lambda client: _with(
                client.v1.invoice_items.list({"customer": customer, "limit": _PAGE}).auto_paging_iter(),
                FIRST_FEE,
                subscription_id,
            )
        )

    def charge_first_fee(
        self,
        customer: str,
        subscription_id: str,
        *,
        amount: int,
        currency: str,
        description: str,
        span: tuple[datetime, datetime],
    ) -> str:
        """Puts that fee on the customer's next invoice."""
        params: Any = {
            "customer": customer,
            "amount": amount,
            "currency": currency,
            "description": description,
            "period": {"start": int(span[0].timestamp()), "end": int(span[1].timestamp()) - 1},
            "metadata": {FIRST_FEE: subscription_id},
        }
        key = f"first-fee:{subscription_id}"
        return self._payments.ask(lambda client: client.v1.invoice_items.create(params, {"idempotency_key": key}).id)

    def _known(self, call: Callable[[stripe.StripeClient], Result]) -> Result | None:
        """The answer, None for what does not exist; raises for everything else that is no answer."""
        try:
            return self._payments.ask(call)
        except StripeRefused as error:
            if error.outcome.status == 404:
                return None
            raise

    def _id(self, answer: stripe.StripeObject | Trouble) -> str | Trouble:
        if isinstance(answer, Trouble):
            return answer
        identity = getattr(answer, "id", None)
        return identity if isinstance(identity, str) else OutcomeUnknown("the answer is about nothing")


def _with(found: Iterable[Any], name: str, value: str) -> str | None:
    """The id of the first that carries this in its metadata."""
    return next((str(one.id) for one in found if _metadata(one).get(name) == value), None)


def _session(one: stripe.checkout.Session) -> SoldSession:
    subscription = None if one.subscription is None else _id_of(one.subscription)
    return SoldSession(one.id, str(one.status), one.payment_status, subscription, _metadata(one))


def _subscription(one: stripe.Subscription) -> SoldSubscription:
    items = one["items"].data
    starts, ends = ([getattr(item, name) for item in items] for name in ("current_period_start", "current_period_end"))
    return SoldSubscription(
        id=one.id,
        customer=_id_of(one.customer),
        status=one.status,
        items={item.price.id: item.id for item in items},
        period_start=_instant(min(starts, default=None)),
        period_end=_instant(min(ends, default=None)),
        anchor=datetime.fromtimestamp(one.billing_cycle_anchor, UTC),
        started_at=datetime.fromtimestamp(one.start_date, UTC),
        cancel_at_period_end=one.cancel_at_period_end,
        metadata=_metadata(one),
    )


def _instant(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _id_of(one: Any) -> str:
    """The id, of an object that may have come expanded."""
    return one if isinstance(one, str) else str(one.id)


def _metadata(one: Any) -> dict[str, str]:
    return one.metadata.to_dict() if one.metadata else {}

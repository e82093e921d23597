"""Stripe as a collector: our lines as invoice items on a draft invoice, or as items that wait for its own next invoice.

Found again is what carries our invoice's id in its metadata: by listing, which is up to date at once, never by searching.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from tollkeeper.domain.demand import Demand, DemandLine
from tollkeeper.payments.collector import CollectorStatus, Standing
from tollkeeper.payments.invoice_event import OUR_INVOICE
from tollkeeper.payments.outcome import OutcomeUnknown, Refused, Trouble
from tollkeeper.payments.stripe import StripePayments

if TYPE_CHECKING:
    import stripe
    from stripe._stripe_object import UntypedStripeObject
    from stripe.params import InvoiceCreateParams, InvoiceItemCreateParams

_OUR_LINE = "tollkeeper_line"
_PAGE = 100
_CLOCKS_DISAGREE = timedelta(hours=1)
_LONGEST_DESCRIPTION = 500
_STATUSES: dict[str, CollectorStatus] = {
    "draft": "draft",
    "open": "open",
    "paid": "paid",
    "void": "void",
    "uncollectible": "uncollectible",
}


class StripeInvoices:
    """One invoice at Stripe for each of ours."""

    name: ClassVar[str] = "stripe"
    most_lines: ClassVar[int] = 250
    """As many invoice items as Stripe takes on one invoice."""

    def __init__(self, payments: StripePayments) -> None:
        self._payments = payments

    def find(self, demand: Demand, external_id: str | None) -> tuple[Standing, ...] | Trouble:
        """Stripe's invoice of that id, or all that carry ours; oldest first."""
        if external_id is None:
            return self._list(demand)
        answer = self._payments.attempt(lambda client: client.v1.invoices.retrieve(external_id))
        if isinstance(answer, Refused) and answer.status == 404:
            return ()
        return answer if isinstance(answer, Trouble) else (_standing(answer),)

    def open(self, demand: Demand, key: str) -> Standing | Trouble:
        """An empty draft that takes no items but those we put on it."""
        params: InvoiceCreateParams = {
            "customer": demand.customer,
            "currency": demand.currency,
            "auto_advance": False,
            "collection_method": "charge_automatically",
            "description": f"Usage {demand.period.start:%Y-%m-%d} to {demand.period.last_second:%Y-%m-%d}",
            "discounts": "",
            "metadata": _metadata(demand),
            "pending_invoice_items_behavior": "exclude",
        }
        if demand.days_until_due is not None:
            params["collection_method"] = "send_invoice"
            params["days_until_due"] = demand.days_until_due
        if demand.shares:
            if len(demand.shares) > 1:
                return Refused(400, "an invoice at Stripe can be split with one vendor, not with more")
            params["application_fee_amount"] = demand.platform_share
            params["transfer_data"] = {"destination": demand.shares[0].account}
        return _known(
            self._payments.attempt(lambda client: client.v1.invoices.create(params, {"idempotency_key": f"{key}:open"}))
        )

    def fill(self, demand: Demand, draft: Standing, key: str, proceed: Callable[[], None]) -> Standing | Trouble:
        """Each line once as an invoice item, and nothing else."""
        present = self._payments.attempt(
            lambda client: list(
                client.v1.invoice_items.list({"invoice": draft.external_id, "limit": _PAGE}).auto_paging_iter()
            )
        )
        if isinstance(present, Trouble):
            return present
        there, surplus = _sorted_out(demand, present)
        for item in surplus:
            proceed()
            gone = _gone(self._payments.attempt(lambda client, item=item: client.v1.invoice_items.delete(item.id)))  # type: ignore[misc]
            if gone is not None:
                return gone
        trouble = _add_missing(self._payments, demand, there, key, proceed, invoice=draft.external_id)
        if trouble is not None:
            return trouble
        return _known(self._payments.attempt(lambda client: client.v1.invoices.retrieve(draft.external_id)))

    def issue(self, demand: Demand, draft: Standing, key: str) -> Standing | Trouble:
        """Finalize it, and let Stripe charge or send it."""
        return _known(
            self._payments.attempt(
                lambda client: client.v1.invoices.finalize_invoice(
                    draft.external_id, {"auto_advance": True}, {"idempotency_key": f"{key}:issue"}
                )
            )
        )

    def discard(self, draft: Standing, key: str) -> Trouble | None:
        """Delete the draft, with the items on it."""
        return _gone(
            self._payments.attempt(
                lambda client: client.v1.invoices.delete(
                    draft.external_id, options={"idempotency_key": f"{key}:discard:{draft.external_id}"}
                )
            )
        )

    def _list(self, demand: Demand) -> tuple[Standing, ...] | Trouble:
        since = int((demand.drafted_at - _CLOCKS_DISAGREE).timestamp())
        answer = self._payments.attempt(
            lambda client: list(
                client.v1.invoices.list(
                    {"customer": demand.customer, "created": {"gte": since}, "limit": _PAGE}
                ).auto_paging_iter()
            )
        )
        if isinstance(answer, Trouble):
            return answer
        return tuple(_standing(one) for one in reversed(answer) if _is_about(demand, one.metadata))


class StripeItems:
    """Items that wait for Stripe's own next invoice: usage that came too late for the one of its period."""

    name: ClassVar[str] = "stripe_items"
    most_lines: ClassVar[int] = 250

    def __init__(self, payments: StripePayments) -> None:
        self._payments = payments

    def find(self, demand: Demand, external_id: str | None) -> tuple[Standing, ...] | Trouble:
        """What is there of the items; a draft until all of them are."""
        present = self._present(demand)
        if isinstance(present, Trouble):
            return present
        return (_standing_of_items(demand, present),) if present else ()

    def open(self, demand: Demand, key: str) -> Standing | Trouble:
        """Nothing has to be made before the items."""
        return Standing("", "draft", 0, demand.currency)

    def fill(self, demand: Demand, draft: Standing, key: str, proceed: Callable[[], None]) -> Standing | Trouble:
        """Each line once as an item on no invoice yet."""
        present = self._present(demand)
        if isinstance(present, Trouble):
            return present
        there, _ = _sorted_out(demand, present)
        trouble = _add_missing(self._payments, demand, there, key, proceed, invoice=None)
        if trouble is not None:
            return trouble
        present = self._present(demand)
        return present if isinstance(present, Trouble) else _standing_of_items(demand, present)

    def issue(self, demand: Demand, draft: Standing, key: str) -> Standing | Trouble:
        """They were in force as soon as they were made."""
        return draft

    def discard(self, draft: Standing, key: str) -> Trouble | None:
        """What waits for an invoice is never thrown away: it is owed."""
        return None

    def _present(self, demand: Demand) -> list[stripe.InvoiceItem] | Trouble:
        since = int((demand.drafted_at - _CLOCKS_DISAGREE).timestamp())
        answer = self._payments.attempt(
            lambda client: list(
                client.v1.invoice_items.list(
                    {"customer": demand.customer, "created": {"gte": since}, "limit": _PAGE}
                ).auto_paging_iter()
            )
        )
        if isinstance(answer, Trouble):
            return answer
        lines = {line.id for line in demand.lines}
        return [one for one in answer if _is_about(demand, one.metadata) and _line_of(one) in lines]


def _add_missing(
    payments: StripePayments,
    demand: Demand,
    there: Iterable[str],
    key: str,
    proceed: Callable[[], None],
    *,
    invoice: str | None,
) -> Trouble | None:
    present = set(there)
    for line in demand.lines:
        if line.id not in present:
            params = _item(demand, line, invoice)
            options: stripe.RequestOptions = {"idempotency_key": f"{key}:line:{line.id}"}
            proceed()
            answer = payments.attempt(
                lambda client, params=params, options=options: client.v1.invoice_items.create(params, options)  # type: ignore[misc]
            )
            if isinstance(answer, Trouble):
                return answer
    return None


def _item(demand: Demand, line: DemandLine, invoice: str | None) -> InvoiceItemCreateParams:
    """Stripe shows both ends of an item's period as days, so the last second stands for the end."""
    params: InvoiceItemCreateParams = {
        "customer": demand.customer,
        "currency": demand.currency,
        "amount": line.amount,
        "description": line.description[:_LONGEST_DESCRIPTION],
        "discountable": False,
        "period": {
            "start": int(line.period.start.timestamp()),
            "end": max(int(line.period.last_second.timestamp()), int(line.period.start.timestamp())),
        },
        "metadata": _metadata(demand) | {_OUR_LINE: line.id},
    }
    if invoice is not None:
        params["invoice"] = invoice
    return params


def _sorted_out(
    demand: Demand, items: Iterable[stripe.InvoiceItem]
) -> tuple[dict[str, stripe.InvoiceItem], list[stripe.InvoiceItem]]:
    """The items that are lines of ours, by line, and all others; of two for one line the older one counts."""
    wanted = {line.id: line.amount for line in demand.lines}
    there: dict[str, stripe.InvoiceItem] = {}
    surplus = []
    for item in sorted(items, key=lambda item: (item.date, item.id)):
        line = _line_of(item)
        if _is_about(demand, item.metadata) and line in wanted and line not in there and item.amount == wanted[line]:
            there[line] = item
        else:
            surplus.append(item)
    return there, surplus


def _line_of(item: stripe.InvoiceItem) -> str | None:
    return item.metadata[_OUR_LINE] if item.metadata and _OUR_LINE in item.metadata else None


def _standing(invoice: stripe.Invoice) -> Standing:
    total = invoice.total if invoice.total_excluding_tax is None else invoice.total_excluding_tax
    return Standing(invoice.id or "", _STATUSES.get(invoice.status or "", "draft"), total, invoice.currency)


def _standing_of_items(demand: Demand, present: Iterable[stripe.InvoiceItem]) -> Standing:
    items = sorted(present, key=lambda item: (item.date, item.id))
    there, _ = _sorted_out(demand, items)
    done = len(there) == len(demand.lines)
    total = sum(item.amount for item in items)
    return Standing(items[0].id if items else "", "open" if done else "draft", total, demand.currency)


def _known(answer: stripe.Invoice | Trouble) -> Standing | Trouble:
    if isinstance(answer, Trouble):
        return answer
    if getattr(answer, "object", None) != "invoice" or not answer.id:
        return OutcomeUnknown("the answer is not an invoice")
    return _standing(answer)


def _gone(answer: object) -> Trouble | None:
    """Whether a deletion has come to its end: what is not there any more is gone, too."""
    if isinstance(answer, Refused) and answer.status == 404:
        return None
    return answer if isinstance(answer, Trouble) else None


def _metadata(demand: Demand) -> dict[str, str]:
    return {
        OUR_INVOICE: str(demand.invoice_id),
        "user_id": demand.user_id,
        "period_start": demand.period.start.isoformat(),
        "period_end": demand.period.end.isoformat(),
    }


def _is_about(demand: Demand, metadata: UntypedStripeObject[str] | None) -> bool:
    return metadata is not None and OUR_INVOICE in metadata and metadata[OUR_INVOICE] == str(demand.invoice_id)

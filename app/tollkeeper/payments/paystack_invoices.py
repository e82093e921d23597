"""Paystack as a collector: a payment request for each invoice of ours, or a charge of what the customer has stored there.

A customer with a stored authorisation that was chosen for this is charged once, under a reference made from our invoice's id.
A charge that is declined is not repeated: the customer gets a payment request instead. So there is one of the two that can be
paid at any time, never both: the request is made only once Paystack says that the charge has failed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from tollkeeper.domain.currency import from_paystack, to_paystack
from tollkeeper.domain.demand import Demand
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.reference import charge_reference, read_charge_reference
from tollkeeper.payments.collector import CollectorStatus, Standing
from tollkeeper.payments.outcome import Refused, Trouble
from tollkeeper.payments.paystack import PaystackPayments
from tollkeeper.payments.paystack_objects import PaymentRequest, RequestLine, Transaction

_CLOCKS_DISAGREE = timedelta(days=1)
_LONGEST_NAME = 200
_FAILED = ("failed", "abandoned")


@dataclass(frozen=True, slots=True)
class Card:
    """A stored authorisation that may be charged, and the address that it belongs to."""

    authorization: str = field(repr=False)
    email: str


Cards = Callable[[str], Card | None]
"""The card that a customer of ours, by `user_id`, agreed to have charged."""


class PaystackInvoices:
    """One payment request, or one charge, for each invoice of ours."""

    name: ClassVar[str] = "paystack"
    most_lines: ClassVar[int] = 50

    def __init__(self, payments: PaystackPayments, cards: Cards) -> None:
        self._payments = payments
        self._cards = cards

    def find(self, demand: Demand, external_id: str | None) -> tuple[Standing, ...] | Trouble:
        """The request of that code; else a charge that has not failed, or all requests that name our invoice.

        A charge that failed without a request in its place stands as a draft: `issue` has to go on from it.
        """
        if external_id is not None and read_charge_reference(external_id) is None:
            return _if_there(demand, self._payments.request(external_id))
        charge = self._payments.transaction(_reference(demand))
        if isinstance(charge, Trouble) and not _is_missing(charge):
            return charge
        if isinstance(charge, Transaction) and charge.status not in _FAILED:
            return (_of_charge(demand, charge),)
        requests = self._requests(demand)
        if isinstance(requests, Trouble) or requests:
            return requests
        return () if isinstance(charge, Trouble) else (_to_be_charged(demand),)

    def open(self, demand: Demand, key: str) -> Standing | Trouble:
        """A draft of a request, of which nobody hears; a charge needs none."""
        refused = _refused(demand)
        if refused is not None:
            return refused
        return _to_be_charged(demand) if self._cards(demand.user_id) else self._draft(demand)

    def fill(self, demand: Demand, draft: Standing, key: str, proceed: Callable[[], None]) -> Standing | Trouble:
        """A request has all its lines from the start; read it again."""
        if draft.external_id == _reference(demand):
            return draft
        read = self._payments.request(draft.external_id)
        return read if isinstance(read, Trouble) else _of_request(demand, read)

    def issue(self, demand: Demand, draft: Standing, key: str) -> Standing | Trouble:
        """Finalize the request, or charge; where the charge comes to nothing, a request goes out in its place."""
        if draft.external_id != _reference(demand):
            return self._finalize(demand, draft)
        charged = self._charge(demand)
        if isinstance(charged, Transaction) and charged.status not in _FAILED:
            return _of_charge(demand, charged)
        if isinstance(charged, Trouble) and not (isinstance(charged, Refused) and not charged.about_the_key):
            return charged
        return self._request_instead(demand)

    def discard(self, draft: Standing, key: str) -> Trouble | None:
        """Archive a draft; a charge that was not made needs nothing."""
        if read_charge_reference(draft.external_id) is not None:
            return None
        trouble = self._payments.archive_request(draft.external_id)
        return None if trouble is not None and _is_missing(trouble) else trouble

    def _charge(self, demand: Demand) -> Transaction | Trouble:
        """Charge once, and read back what Paystack made of it: its own record is what counts."""
        card, reference = self._cards(demand.user_id), _reference(demand)
        if card is not None:
            amount = to_paystack(demand.total, demand.currency)
            charged = self._payments.charge(
                authorization=card.authorization,
                email=card.email,
                amount=amount,
                currency=demand.currency,
                reference=reference,
            )
            if isinstance(charged, Trouble) and not isinstance(charged, Refused):
                return charged
        return self._payments.transaction(reference)

    def _request_instead(self, demand: Demand) -> Standing | Trouble:
        """A request for what could not be charged, compared before it goes out; what is there already, `find` has found."""
        draft = self._draft(demand)
        if isinstance(draft, Trouble):
            return draft
        if (draft.total, draft.currency) != (demand.total, demand.currency):
            trouble = self.discard(draft, "")
            stated = f"the draft at Paystack came to {draft.total} {draft.currency}; it was archived"
            return Refused(400, stated) if trouble is None else trouble
        return self._finalize(demand, draft)

    def _draft(self, demand: Demand) -> Standing | Trouble:
        assert demand.email is not None, "refused without one"
        customer = self._payments.customer_for(demand.email)
        if isinstance(customer, Trouble):
            return customer
        due = None if demand.days_until_due is None else demand.drafted_at + timedelta(days=demand.days_until_due)
        made = self._payments.draft_request(
            customer_code=customer.code,
            amount=to_paystack(demand.total, demand.currency),
            currency=demand.currency,
            description=_description(demand),
            lines=_lines(demand),
            due=None if due is None else due.date(),
        )
        return made if isinstance(made, Trouble) else _of_request(demand, made)

    def _finalize(self, demand: Demand, draft: Standing) -> Standing | Trouble:
        final = self._payments.finalize_request(draft.external_id)
        if isinstance(final, Refused) and not final.about_the_key:
            # An earlier call whose answer was lost may have been slow to be applied.
            read = self._payments.request(draft.external_id)
            final = read if isinstance(read, Trouble) or read.status != "draft" else final
        return final if isinstance(final, Trouble) else _of_request(demand, final)

    def _requests(self, demand: Demand) -> tuple[Standing, ...] | Trouble:
        """Requests that name our invoice, oldest first."""
        if demand.email is None:
            return ()
        customer = self._payments.customer(demand.email)
        if isinstance(customer, Trouble):
            return () if _is_missing(customer) else customer
        found = self._payments.requests_about(demand.invoice_id, customer.id, demand.drafted_at - _CLOCKS_DISAGREE)
        return found if isinstance(found, Trouble) else tuple(_of_request(demand, one) for one in reversed(found))


def _reference(demand: Demand) -> str:
    return charge_reference(demand.invoice_id, 1)


def _description(demand: Demand) -> str:
    """What people read, and what we find the request by again."""
    return f"Usage {demand.period.start:%Y-%m-%d} to {demand.period.last_second:%Y-%m-%d}, invoice {demand.invoice_id}"


def _lines(demand: Demand) -> tuple[RequestLine, ...]:
    """The lines where all of them are above nothing, as Paystack wants them; with a credit among them the sum alone."""
    if any(line.amount < 0 for line in demand.lines):
        return ()
    return tuple(
        RequestLine(line.description[:_LONGEST_NAME] or line.id, to_paystack(line.amount, demand.currency))
        for line in demand.lines
        if line.amount
    )


def _refused(demand: Demand) -> Refused | None:
    """What Paystack need not be asked for."""
    try:
        to_paystack(demand.total, demand.currency)
    except InvalidInput as error:
        return Refused(400, str(error))
    if demand.email is None:
        return Refused(400, "the customer has no mail address, by which Paystack knows customers")
    if demand.shares:
        return Refused(400, "invoices at Paystack are not split with vendors")
    return None


def _if_there(demand: Demand, request: PaymentRequest | Trouble) -> tuple[Standing, ...] | Trouble:
    if isinstance(request, Trouble):
        return () if _is_missing(request) else request
    return (_of_request(demand, request),)


def _is_missing(trouble: Trouble) -> bool:
    return isinstance(trouble, Refused) and trouble.status == 404


def _to_be_charged(demand: Demand) -> Standing:
    return Standing(_reference(demand), "draft", demand.total, demand.currency)


def _of_charge(demand: Demand, charge: Transaction) -> Standing:
    """Paid only where the right amount came in the right currency; a reversed one was given back by somebody."""
    total = _ours(charge.amount, charge.currency)
    paid = charge.status == "success" and (total, charge.currency) == (demand.total, demand.currency)
    status: CollectorStatus = "paid" if paid else "void" if charge.status == "reversed" else "open"
    return Standing(charge.reference, status, total, charge.currency)


def _of_request(demand: Demand, request: PaymentRequest) -> Standing:
    """Paid only where the right amount came in the right currency; what came otherwise is for a person to look at."""
    total = _ours(request.amount, request.currency)
    agrees = (total, request.currency) == (demand.total, demand.currency)
    status: CollectorStatus = "open"
    if request.paid:
        status = "paid" if agrees and request.status == "success" else "open"
    elif request.archived:
        status = "void"
    elif request.status == "draft":
        status = "draft"
    return Standing(request.code, status, total, request.currency)


def _ours(amount: int, currency: str) -> int:
    """Minor units as we count them; as they are where they have none, so that they agree with no total of ours."""
    try:
        whole = from_paystack(amount, currency)
    except InvalidInput:
        return amount
    return amount if whole is None else whole

"""Paystack, as far as this project uses it: ask for an invoice to be paid, and read back whether it was.

Paystack has no idempotency keys. What makes a repeat harmless here is looking first: payment requests are found by our
invoice's id in their description, charges by their reference, which Paystack takes only once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.payments.outcome import (
    AccountAnswers,
    AccountCheck,
    Failed,
    OutcomeUnknown,
    RateLimited,
    Refused,
    Trouble,
)
from tollkeeper.payments.paystack_http import PaystackHttp
from tollkeeper.payments.paystack_objects import (
    Answer,
    PaymentRequest,
    PaystackCustomer,
    RequestLine,
    Transaction,
    read_customer,
    read_request,
    read_transaction,
)

Found = TypeVar("Found")

API_BASE = "https://api.paystack.co"
_PAGE = 100
_MOST_PAGES = 50


class PaystackDidNotAnswer(TollkeeperError):
    """A question to Paystack went unanswered for now; `outcome` says why."""

    transient: ClassVar[bool] = True

    def __init__(self, outcome: OutcomeUnknown | Failed | RateLimited) -> None:
        super().__init__(f"Paystack did not answer: {outcome}")
        self.outcome = outcome


class PaystackRefused(TollkeeperError):
    """Paystack refuses to answer a question; `outcome` says why, and asking again does not help."""

    def __init__(self, outcome: Refused) -> None:
        super().__init__(f"Paystack refused: {outcome.message}")
        self.outcome = outcome


class PaystackPayments:
    """One Paystack integration, reached with its secret key. No method raises for what Paystack or the network did."""

    def __init__(self, secret_key: str, *, api_base: str | None = None, timeout_seconds: float = 15) -> None:
        self._api_base = (api_base or API_BASE).rstrip("/")
        self._secret_key = secret_key
        self._http = PaystackHttp(secret_key, self._api_base, timeout_seconds)

    def __repr__(self) -> str:
        return f"PaystackPayments(api_base={self._api_base!r})"

    @property
    def livemode(self) -> bool | None:
        """True for live money, False for test money, None where the key's form does not say."""
        return {"sk_live": True, "sk_test": False}.get(self._secret_key[:7])

    def account_ok(self) -> AccountCheck:
        """Whether Paystack answers this key, asked by listing a single customer."""
        answer = self._http.call("GET", "/customer", query={"perPage": "1"})
        return answer if isinstance(answer, Trouble) else AccountAnswers(self.livemode)

    def customer(self, name: str) -> PaystackCustomer | Trouble:
        """The customer of this code or mail address, with the authorisations that can be charged."""
        return _read(self._http.call("GET", "/customer", name), read_customer)

    def customer_for(self, email: str) -> PaystackCustomer | Trouble:
        """The customer of this mail address, made where there is none. Paystack has one customer for each address."""
        found = self.customer(email)
        if not isinstance(found, Refused) or found.status != 404:
            return found
        return _read(self._http.call("POST", "/customer", body={"email": email}), read_customer)

    def requests_about(
        self, invoice_id: UUID, customer_id: int, since: datetime
    ) -> tuple[PaymentRequest, ...] | Trouble:
        """Payment requests of a customer, made since then, whose description names our invoice; archived ones are gone."""
        found = []
        for page in self._pages(customer_id, since):
            if isinstance(page, Trouble):
                return page
            found += [request for request in page if str(invoice_id) in request.description]
        return tuple(found)

    def draft_request(
        self,
        *,
        customer_code: str,
        amount: int,
        currency: str,
        description: str,
        lines: Sequence[RequestLine] = (),
        due: date | None = None,
    ) -> PaymentRequest | Trouble:
        """Make a draft, of which nobody hears. Amounts in Paystack's minor units; lines only where all are above nothing."""
        body: dict[str, Any] = {
            "customer": customer_code,
            "amount": amount,  # described as needed; where there are lines, they count
            "currency": currency.upper(),
            "description": description,
            "draft": True,
        }
        if lines:
            body["line_items"] = [{"name": line.name, "amount": line.amount, "quantity": 1} for line in lines]
        if due is not None:
            body["due_date"] = due.isoformat()
        return _read(self._http.call("POST", "/paymentrequest", body=body), read_request)

    def finalize_request(self, code: str) -> PaymentRequest | Trouble:
        """Turn a draft into what the customer is asked to pay; Paystack sends them the link."""
        return _read(self._http.call("POST", "/paymentrequest/finalize", code, body={}), read_request)

    def archive_request(self, code: str) -> Trouble | None:
        """Take a payment request off the table: it can no longer be paid."""
        answer = self._http.call("POST", "/paymentrequest/archive", code, body={})
        return answer if isinstance(answer, Trouble) else None

    def request(self, code: str) -> PaymentRequest | Trouble:
        """A payment request as it stands; what it says here is what counts, whatever a webhook said."""
        found = _read(self._http.call("GET", "/paymentrequest/verify", code), read_request)
        if isinstance(found, PaymentRequest) and found.code != code:
            return OutcomeUnknown("the answer is about another payment request")
        return found

    def charge(
        self, *, authorization: str, email: str, amount: int, currency: str, reference: str
    ) -> Transaction | Trouble:
        """Charge a stored authorisation; a reference that was used before answers what became of it then.

        `queue` lets Paystack take its time over many charges at once, so the answer may be a transaction under way.
        """
        body = {
            "authorization_code": authorization,
            "email": email,
            "amount": amount,
            "currency": currency.upper(),
            "reference": reference,
            "queue": True,
        }
        answer = self._http.call("POST", "/transaction/charge_authorization", body=body)
        if isinstance(answer, Refused) and "duplicate transaction reference" in answer.message.lower():
            return self.transaction(reference)
        return self._about(reference, answer)

    def transaction(self, reference: str) -> Transaction | Trouble:
        """A transaction as it stands; `Refused` with status 404 where Paystack knows none of this reference."""
        return self._about(reference, self._http.call("GET", "/transaction/verify", reference))

    def _about(self, reference: str, answer: Answer | Trouble) -> Transaction | Trouble:
        found = _read(answer, read_transaction)
        if isinstance(found, Transaction) and found.reference != reference:
            return OutcomeUnknown("the answer is about another transaction")
        return found

    def _pages(self, customer_id: int, since: datetime) -> Iterator[list[PaymentRequest] | Trouble]:
        """Every page of a customer's payment requests. A page that cannot be read ends it: what is not seen may be there."""
        query = {"customer": str(customer_id), "perPage": str(_PAGE), "from": since.isoformat(timespec="seconds")}
        for page in range(1, _MOST_PAGES + 1):
            answer = self._http.call("GET", "/paymentrequest", query={**query, "page": str(page)})
            if isinstance(answer, Trouble):
                yield answer
                return
            listed = answer.data if isinstance(answer.data, list) else None
            read = [read_request(one) for one in listed or []]
            if listed is None or None in read:
                yield OutcomeUnknown("the answer is not a list of payment requests")
                return
            yield [request for request in read if request is not None]
            if len(read) < _PAGE:
                return
        yield OutcomeUnknown(f"more than {_MOST_PAGES * _PAGE} payment requests of one customer")


def _read(answer: Answer | Trouble, read: Callable[[Any], Found | None]) -> Found | Trouble:
    """The object in an answer; one that is not there or malformed leaves it unknown what happened."""
    if isinstance(answer, Trouble):
        return answer
    found = read(answer.data)
    return OutcomeUnknown("the answer has not the form that was expected") if found is None else found

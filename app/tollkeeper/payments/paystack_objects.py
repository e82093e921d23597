"""What is read of Paystack's objects; one whose form is not as expected is None, never a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer that says `status: true` carries."""

    data: Any


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One line of a payment request, in Paystack's minor units."""

    name: str
    amount: int


@dataclass(frozen=True, slots=True)
class Authorization:
    """Something stored that can be charged again. The code is a secret: with the API key it moves money."""

    code: str = field(repr=False)
    reusable: bool
    channel: str | None = None
    last4: str | None = None


@dataclass(frozen=True, slots=True)
class PaystackCustomer:
    """A customer of the integration; authorisations are known only where the customer was read by itself."""

    id: int
    code: str
    email: str
    authorizations: tuple[Authorization, ...] = ()


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """A payment request; amount in Paystack's minor units, currency in small letters."""

    code: str
    status: str
    paid: bool
    amount: int
    currency: str
    description: str = ""
    paid_at: datetime | None = None
    archived: bool = False


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction; amount in Paystack's minor units, currency in small letters."""

    reference: str
    status: str
    amount: int
    currency: str
    paid_at: datetime | None = None
    reason: str = ""
    """What the bank said, for people."""


def read_customer(value: Any) -> PaystackCustomer | None:
    body = _object(value)
    number, code, email = body.get("id"), _text(body.get("customer_code")), _text(body.get("email"))
    if type(number) is not int or code is None or email is None:
        return None
    listed = body.get("authorizations")
    found = [_authorization(_object(one)) for one in listed] if isinstance(listed, list) else []
    return PaystackCustomer(number, code, email, tuple(one for one in found if one is not None))


def read_request(value: Any) -> PaymentRequest | None:
    body = _object(value)
    code, status, currency = (_text(body.get(name)) for name in ("request_code", "status", "currency"))
    amount, paid = _amount(body.get("amount")), body.get("paid")
    if code is None or status is None or currency is None or amount is None or not isinstance(paid, bool):
        return None
    description = body.get("description")
    return PaymentRequest(
        code=code,
        status=status,
        paid=paid,
        amount=amount,
        currency=currency.lower(),
        description=description if isinstance(description, str) else "",
        paid_at=_instant(body.get("paid_at")),
        archived=body.get("archived") is True,
    )


def read_transaction(value: Any) -> Transaction | None:
    body = _object(value)
    reference, status, currency = (_text(body.get(name)) for name in ("reference", "status", "currency"))
    amount = _amount(body.get("amount"))
    if reference is None or status is None or currency is None or amount is None:
        return None
    return Transaction(
        reference=reference,
        status=status,
        amount=amount,
        currency=currency.lower(),
        paid_at=_instant(body.get("paid_at")),
        reason=(_text(body.get("gateway_response")) or "")[:200],
    )


def _authorization(body: Mapping[str, Any]) -> Authorization | None:
    code = _text(body.get("authorization_code"))
    if code is None:
        return None
    return Authorization(code, body.get("reusable") is True, _text(body.get("channel")), _text(body.get("last4")))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= 255 else None


def _amount(value: Any) -> int | None:
    """A whole number; some answers carry it as a string of digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    return value if type(value) is int else None


def _instant(value: Any) -> datetime | None:
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if read is None or read.tzinfo is None else read

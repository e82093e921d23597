"""Payment requests: draft, pending once finalized, success once paid; archived ones are gone from every list."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from tollkeeper.testing.paystack_standin import params as kinds
from tollkeeper.testing.paystack_standin.account import Body, Integration
from tollkeeper.testing.paystack_standin.problem import invalid
from tollkeeper.testing.paystack_standin.resources.transactions import finish, new_transaction
from tollkeeper.testing.paystack_standin.routing import Reply, Route


def create(integration: Integration, params: dict[str, Any], _: str) -> Reply:
    customer = integration.customer(params["customer"])
    items = params.get("line_items", [])
    total = sum(item["amount"] * item.get("quantity", 1) for item in items) or params["amount"]
    request: Body = {
        "id": integration.number(),
        "integration": 100_043,
        "domain": "test",
        "amount": total,
        "currency": params.get("currency", "NGN"),
        "due_date": params.get("due_date"),
        "has_invoice": bool(items),
        "invoice_number": len(integration.requests) + 1 if items else None,
        "description": params.get("description"),
        "pdf_url": None,
        "line_items": items,
        "tax": [],
        "request_code": integration.ids.new("PRQ", 15).lower().replace("prq_", "PRQ_"),
        "status": "draft" if params.get("draft") else "pending",
        "paid": False,
        "paid_at": None,
        "metadata": None,
        "notifications": [],
        "offline_reference": str(integration.number()),
        "customer": customer["id"],
        "created_at": integration.now,
        "discount": None,
        "split_code": None,
    }
    integration.requests[request["request_code"]] = request
    if request["status"] == "pending":
        _notify(integration, request)
    return Reply("Payment request created", deepcopy(request))


def list_some(integration: Integration, params: dict[str, Any], _: str) -> Reply:
    """Newest first, as every list of Paystack's."""
    found = [one for one in integration.requests.values() if not one.get("archived") and _wanted(one, params)]
    found.reverse()
    size, page = int(params.get("perPage", 50)), int(params.get("page", 1))
    pages = -(-len(found) // size)
    meta = {"total": len(found), "skipped": (page - 1) * size, "perPage": size, "page": page, "pageCount": pages}
    shown = found[(page - 1) * size : page * size]
    return Reply("Payment requests retrieved", [integration.with_customer(one) for one in shown], meta)


def fetch(integration: Integration, _: dict[str, Any], name: str) -> Reply:
    return Reply("Payment request retrieved", integration.with_customer(integration.request(name)))


def verify(integration: Integration, _: dict[str, Any], name: str) -> Reply:
    request = integration.request(name)
    pending = 0 if request["paid"] else request["amount"]
    return Reply("Payment request retrieved", {**integration.with_customer(request), "pending_amount": pending})


def finalize(integration: Integration, params: dict[str, Any], name: str) -> Reply:
    request = integration.request(name)
    if request["status"] != "draft" or request.get("archived"):
        raise invalid("Payment request is not a draft", "invalid_status")
    request["status"] = "pending"
    _notify(integration, request)
    return Reply("Payment request finalized", integration.with_customer(request))


def archive(integration: Integration, _: dict[str, Any], name: str) -> Reply:
    request = integration.request(name)
    if request["paid"]:
        raise invalid("Payment request has been paid", "invalid_status")
    request["archived"] = True
    return Reply("Payment request has been archived", None)


def pay(integration: Integration, name: str, amount: int | None = None) -> Body:
    """What a customer does on the page of a payment request; with an `amount` other than asked for, as a dispute shows it."""
    request = integration.request(name)
    if request["status"] != "pending" or request.get("archived"):
        raise ValueError(f"{name} is {'archived' if request.get('archived') else request['status']}, not pending")
    customer = integration.with_customer(request)["customer"]
    transaction = new_transaction(
        integration, integration.ids.new("pr", 10).replace("_", "-"), amount or request["amount"], request, customer
    )
    request |= {"status": "success", "paid": True, "paid_at": integration.now}
    if amount is not None:
        request["amount"] = amount
    finish(integration, transaction, "success")
    integration.happened("paymentrequest.success", request)
    return deepcopy(request)


def _notify(integration: Integration, request: Body) -> None:
    request["notifications"].append({"sent_at": integration.now, "channel": "email"})
    integration.happened("paymentrequest.pending", request)


def _wanted(request: Body, params: dict[str, Any]) -> bool:
    created = datetime.fromisoformat(request["created_at"])
    return (
        params.get("customer", str(request["customer"])) == str(request["customer"])
        and params.get("status", request["status"]) == request["status"]
        and params.get("currency", request["currency"]) == request["currency"]
        and ("from" not in params or created >= _instant(params["from"]))
        and ("to" not in params or created <= _instant(params["to"]))
    )


def _instant(text: str) -> datetime:
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _status(value: Any) -> bool:
    return value in ("draft", "pending", "success", "failed")


_FIELDS: dict[str, kinds.Check | None] = {
    "customer": kinds.text,
    "amount": kinds.amount,
    "currency": kinds.currency,
    "due_date": kinds.instant,
    "description": kinds.text,
    "line_items": kinds.line_items,
    "tax": None,
    "send_notification": None,
    "draft": kinds.flag,
    "has_invoice": None,
    "invoice_number": None,
    "split_code": None,
}
_FILTERS: dict[str, kinds.Check | None] = {
    "perPage": kinds.page,
    "page": kinds.page,
    "customer": kinds.page,
    "status": _status,
    "currency": kinds.currency,
    "from": kinds.instant,
    "to": kinds.instant,
}

ROUTES = (
    Route("POST", "/paymentrequest", create, _FIELDS, "customer amount"),
    Route("GET", "/paymentrequest", list_some, _FILTERS),
    Route("GET", "/paymentrequest/verify/{}", verify, {}),
    Route("POST", "/paymentrequest/finalize/{}", finalize, {}),
    Route("POST", "/paymentrequest/archive/{}", archive, {}),
    Route("GET", "/paymentrequest/{}", fetch, {}),
)

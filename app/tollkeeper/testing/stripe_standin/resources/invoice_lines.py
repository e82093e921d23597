"""The lines of an invoice, and the totals that follow from them."""

from __future__ import annotations

from tollkeeper.testing.stripe_standin.account import Account, Body


def add_line(account: Account, invoice: Body, amount: int, description: str | None, period: tuple[int, int]) -> Body:
    """One more line of `amount` minor units, and the totals that follow from it."""
    line: Body = {
        "id": account.ids.new("il"),
        "object": "line_item",
        "amount": amount,
        "currency": invoice["currency"],
        "description": description,
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice["id"],
        "livemode": False,
        "metadata": {},
        "parent": None,
        "period": {"start": period[0], "end": period[1]},
        "pretax_credit_amounts": [],
        "pricing": None,
        "quantity": 1,
        "quantity_decimal": "1",
        "subscription": None,
        "subtotal": amount,
        "taxes": [],
    }
    invoice["lines"]["data"].append(line)
    _add_up(invoice)
    return line


def take_line(invoice: Body, item: str) -> None:
    """Takes off the line that an invoice item made."""
    lines = invoice["lines"]["data"]
    lines[:] = [line for line in lines if _item_of(line) != item]
    _add_up(invoice)


def _item_of(line: Body) -> str | None:
    details = (line["parent"] or {}).get("invoice_item_details") or {}
    item: str | None = details.get("invoice_item")
    return item


def _add_up(invoice: Body) -> None:
    total = sum(one["amount"] for one in invoice["lines"]["data"])
    for name in ("subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax"):
        invoice[name] = total
    invoice["amount_due"] = invoice["amount_remaining"] = max(total, 0)

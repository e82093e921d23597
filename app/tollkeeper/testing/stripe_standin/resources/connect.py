"""Connect: what of an invoice goes to whose account."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.problem import bad_request, missing_parameter


@dataclass
class Splits:
    """How invoices are split: by invoice, the platform's fee and the account that gets the rest."""

    by_invoice: dict[str, dict[str, Any]] = field(default_factory=dict)


def split_invoice(account: Account, invoice: Body, fee: int | None, transfer_data: dict[str, Any] | None) -> None:
    """Keeps the split of a new invoice; a fee goes with a destination."""
    if transfer_data is None and fee is None:
        return
    if transfer_data is None:
        raise missing_parameter("transfer_data[destination]")
    if not transfer_data["destination"].startswith("acct_"):
        raise bad_request("transfer_data[destination]", f"No such destination: '{transfer_data['destination']}'")
    if fee is not None and fee < 0:
        raise bad_request("application_fee_amount", "The fee must not be negative.")
    account.part(Splits).by_invoice[invoice["id"]] = {
        "application_fee_amount": fee,
        "destination": transfer_data["destination"],
    }

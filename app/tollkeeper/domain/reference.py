"""A reference: our name for a charge at Paystack, where a name is used once and is what makes a repeat harmless."""

from __future__ import annotations

import re
from uuid import UUID

from tollkeeper.domain.errors import InvalidInput

MOST_ATTEMPTS = 99
_REFERENCE = re.compile(r"tollkeeper-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-([1-9][0-9]?)")


def charge_reference(invoice_id: UUID, attempt: int) -> str:
    """The reference of an invoice's n-th charge, from 1: always the same for the same attempt.

    A failed charge uses its reference up, so each attempt has one of its own. Letters, digits, `-`, `.` and `=` are all that
    Paystack takes, so nothing of a customer's name goes in.
    """
    if not 1 <= attempt <= MOST_ATTEMPTS:
        raise InvalidInput("attempt", f"a number from 1 to {MOST_ATTEMPTS}")
    return f"tollkeeper-{invoice_id}-{attempt}"


def read_charge_reference(reference: str) -> tuple[UUID, int] | None:
    """The invoice and attempt that a reference of ours names; None for anybody else's."""
    match = _REFERENCE.fullmatch(reference)
    return None if match is None else (UUID(match[1]), int(match[2]))

from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.reference import charge_reference, read_charge_reference

INVOICE = UUID("6f1f3c0e-58a5-4d0c-9c3e-0d5b7f4d2a11")


@given(st.uuids(), st.integers(1, 99))
def test_a_reference_has_only_what_paystack_takes_and_names_its_invoice(invoice: UUID, attempt: int) -> None:
    reference = charge_reference(invoice, attempt)

    assert re.fullmatch("[A-Za-z0-9.=-]{1,100}", reference)
    assert read_charge_reference(reference) == (invoice, attempt)


def test_each_attempt_has_a_reference_of_its_own() -> None:
    assert charge_reference(INVOICE, 1) == "tollkeeper-6f1f3c0e-58a5-4d0c-9c3e-0d5b7f4d2a11-1"
    assert charge_reference(INVOICE, 1) != charge_reference(INVOICE, 2)


@pytest.mark.parametrize("attempt", [0, -1, 100])
def test_attempts_are_bounded(attempt: int) -> None:
    with pytest.raises(InvalidInput):
        charge_reference(INVOICE, attempt)


@pytest.mark.parametrize(
    "other",
    ["", "order-17", f"{INVOICE}-1", f"tollkeeper-{INVOICE}", f"tollkeeper-{INVOICE}-0", f"tollkeeper-{INVOICE}-1 "],
)
def test_references_of_somebody_else_are_not_ours(other: str) -> None:
    assert read_charge_reference(other) is None

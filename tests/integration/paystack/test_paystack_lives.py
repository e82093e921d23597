"""Whatever goes wrong on the way, what Paystack has taken in is what is owed.

`PAYSTACK_LIVES=300 python -m pytest tests/integration/paystack/test_paystack_lives.py` runs three hundred of them.
"""

from __future__ import annotations

import os

import pytest

from .conftest import Collecting
from .lives import Life


@pytest.mark.parametrize("seed", range(int(os.environ.get("PAYSTACK_LIVES", "6"))))
def test_paystack_takes_in_what_is_owed_whatever_went_wrong(collecting: Collecting, seed: int) -> None:
    life = Life(collecting, seed)

    life.run()

    life.check()

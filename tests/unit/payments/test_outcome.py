from __future__ import annotations

import subprocess
import sys

import pytest

from tollkeeper.payments import Refused


@pytest.mark.parametrize(
    ("status", "about_the_key"), [(400, False), (401, True), (402, False), (403, True), (404, False)]
)
def test_a_refusal_about_the_key_is_told_from_one_about_what_was_sent(status: int, about_the_key: bool) -> None:
    assert Refused(status, "no").about_the_key is about_the_key


def test_neither_the_package_nor_its_stripe_module_imports_the_sdk_before_the_first_call() -> None:
    script = (
        "import sys, tollkeeper.payments, tollkeeper.payments.stripe as ours\n"
        "ours.StripePayments('sk_test_made_up')\n"
        "print('stripe' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)

    assert ran.stdout.strip() == "False"

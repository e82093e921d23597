"""Minor units as Stripe and Paystack count them, and money as people write it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain.currency import (
    CURRENCIES,
    display,
    display_price,
    exponent,
    from_paystack,
    minor_step,
    parse_major,
    paystack_exponent,
    to_major,
    to_paystack,
)
from tollkeeper.domain.errors import InvalidInput

# currency, exponent, step, an amount as written, in minor units, as shown
TABLE = [
    ("usd", 2, 1, "1234.50", 123_450, "$1,234.50"),
    ("eur", 2, 1, "99", 9_900, "€99.00"),
    ("gbp", 2, 1, "0.05", 5, "£0.05"),
    ("jpy", 0, 1, "1500", 1_500, "¥1,500"),
    ("krw", 0, 1, "1500", 1_500, "₩1,500"),
    ("mga", 0, 1, "1500", 1_500, "MGA 1,500"),  # ISO 4217 says 2
    ("xof", 0, 1, "1500", 1_500, "XOF 1,500"),
    ("kwd", 3, 10, "1.250", 1_250, "KWD 1.250"),
    ("kwd", 3, 10, "1.255", 1_255, "KWD 1.255"),
    ("bhd", 3, 10, "0.01", 10, "BHD 0.010"),
    ("isk", 2, 100, "1500", 150_000, "ISK 1,500"),  # ISO 4217 says 0
    ("isk", 2, 100, "1500.00", 150_000, "ISK 1,500"),
    ("ugx", 2, 100, "1500", 150_000, "UGX 1,500"),
    ("ngn", 2, 1, "1500.25", 150_025, "₦1,500.25"),
    ("ghs", 2, 1, "10.00", 1_000, "GH₵10.00"),
    ("huf", 2, 1, "10.50", 1_050, "HUF 10.50"),  # whole forints only where money is paid out
    ("twd", 2, 1, "10.50", 1_050, "NT$10.50"),
    ("cad", 2, 1, "10.00", 1_000, "CA$10.00"),
]


@pytest.mark.parametrize(("currency", "decimals", "step", "written", "minor", "shown"), TABLE)
def test_each_currency_has_its_own_minor_unit(
    currency: str, decimals: int, step: int, written: str, minor: int, shown: str
) -> None:
    assert exponent(currency) == decimals
    assert minor_step(currency) == step
    assert parse_major(written, currency) == minor
    assert display(minor, currency) == shown


@pytest.mark.parametrize(
    ("currencies", "decimals"),
    [
        ("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf", 0),
        ("bhd jod kwd omr tnd", 3),
        ("isk ugx huf twd usd eur ngn ghs zar kes", 2),
    ],
)
def test_the_special_currencies_are_those_that_stripe_lists(currencies: str, decimals: int) -> None:
    assert {exponent(currency) for currency in currencies.split()} == {decimals}


def test_no_other_currency_is_special() -> None:
    assert sum(exponent(currency) == 0 for currency in CURRENCIES) == 15
    assert sum(exponent(currency) == 3 for currency in CURRENCIES) == 5
    assert sum(minor_step(currency) == 100 for currency in CURRENCIES) == 2
    assert len(CURRENCIES) > 130


@pytest.mark.parametrize("unknown", ["", "xyz", "us", "usdd", "btc", "\x00", "$"])
def test_an_unknown_currency_is_refused(unknown: str) -> None:
    for function in (exponent, minor_step, paystack_exponent):
        with pytest.raises(InvalidInput) as refusal:
            function(unknown)
        assert refusal.value.field == "currency"


def test_a_currency_may_be_written_in_capitals() -> None:
    assert (exponent("JPY"), minor_step("ISK"), parse_major("1", "USD")) == (0, 100, 100)
    assert display(150_000, "ISK") == "ISK 1,500"


@pytest.mark.parametrize("currency", ["ngn", "ghs", "zar", "kes", "usd", "xof", "egp", "rwf"])
def test_paystack_takes_all_of_its_currencies_times_100(currency: str) -> None:
    assert paystack_exponent(currency) == 2


def test_paystack_does_not_take_what_stripe_takes() -> None:
    with pytest.raises(InvalidInput):
        paystack_exponent("eur")


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("99.999", "usd"),
        ("99.0", "jpy"),
        ("1.2345", "kwd"),
        ("99.50", "isk"),
        ("-1", "usd"),
        ("+1", "usd"),
        ("1e3", "usd"),
        ("NaN", "usd"),
        ("Infinity", "usd"),
        ("", "usd"),
        (" 1", "usd"),
        ("1.", "usd"),
        (".5", "usd"),
        ("1,000", "usd"),
        ("1_000", "usd"),
        ("٩٩", "usd"),
        ("1\n", "usd"),
        ("$1", "usd"),
        ("92233720368547758.08", "usd"),  # 2^63
        ("9" * 5_000, "usd"),
        (99.0, "usd"),
        (99, "usd"),
        (None, "usd"),
        (True, "usd"),
        (Decimal(99), "usd"),
    ],
)
def test_what_is_not_an_amount_in_writing_is_refused(text: Any, currency: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_major(text, currency, "base_fee")
    assert refusal.value.field == "base_fee"
    assert "\n" not in str(refusal.value)


def test_the_largest_amount_is_what_64_bits_hold() -> None:
    assert parse_major("92233720368547758.07", "usd") == 2**63 - 1


@given(st.integers(min_value=0, max_value=2**63 - 1), st.sampled_from(sorted(CURRENCIES)))
def test_an_amount_in_major_units_reads_back_as_it_was(amount: int, currency: str) -> None:
    amount = amount // minor_step(currency) * minor_step(currency)
    assert parse_major(f"{to_major(amount, currency):f}", currency) == amount


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (0, "usd", "$0.00"),
        (-1, "usd", "-$0.01"),
        (-123_456_789, "usd", "-$1,234,567.89"),
        (-500, "jpy", "-¥500"),
        (-1_250, "kwd", "-KWD 1.250"),
        (150_050, "isk", "ISK 1,500.50"),  # never sent, but never hidden either
        (2**63 - 1, "usd", "$92,233,720,368,547,758.07"),
    ],
)
def test_money_is_shown_as_people_write_it(amount: int, currency: str, shown: str) -> None:
    assert display(amount, currency) == shown


@pytest.mark.parametrize(
    ("price", "currency", "shown"),
    [
        ("0.3", "usd", "$0.003"),
        ("0", "usd", "$0.00"),
        ("100", "usd", "$1.00"),
        ("1E+3", "usd", "$10.00"),
        ("150", "usd", "$1.50"),
        ("0.000015", "usd", "$0.00000015"),
        ("2.5", "jpy", "¥2.5"),
        ("2", "jpy", "¥2"),
        ("100", "isk", "ISK 1"),
        ("0.5", "kwd", "KWD 0.0005"),
        ("123456789012345678901234567890.5", "usd", "$1,234,567,890,123,456,789,012,345,678.905"),
    ],
)
def test_a_price_is_shown_with_all_its_decimals(price: str, currency: str, shown: str) -> None:
    assert display_price(Decimal(price), currency) == shown


@pytest.mark.parametrize(
    ("currency", "ours", "paystacks"),
    [
        ("ngn", 150_025, 150_025),  # kobo at both
        ("ghs", 1_000, 1_000),
        ("kes", 1_000, 1_000),
        ("XOF", 1_500, 150_000),  # none here, times 100 there
        ("rwf", 1_500, 150_000),
    ],
)
def test_paystack_counts_every_currency_times_100(currency: str, ours: int, paystacks: int) -> None:
    assert to_paystack(ours, currency) == paystacks
    assert from_paystack(paystacks, currency) == ours


def test_what_is_no_whole_minor_unit_of_ours_has_no_amount() -> None:
    assert from_paystack(150_001, "xof") is None

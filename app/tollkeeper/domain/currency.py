"""Minor units as Stripe and Paystack count them, and money as people write it.

Stripe's table is not ISO 4217: MGA has no minor unit there, ISK and UGX are whole-unit currencies that are sent times
100, and three-decimal amounts must end in 0. Source: docs.stripe.com/currencies (zero-decimal, three-decimal, special).
HUF and TWD are charged times 100 like any other; only payouts want whole units there.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.money import BIGINT_MAX


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ZERO_DECIMAL = _codes("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf")
_THREE_DECIMAL = _codes("bhd jod kwd omr tnd")
_WHOLE_BUT_TIMES_100 = frozenset({"isk", "ugx"})
_TWO_DECIMAL = _codes(
    """
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad cdf chf cny cop
    crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel ghs gip gmd gtq gyd hkd hnl htg huf idr ils inr jmd kes
    kgs khr kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd
    pab pen pgk php pkr pln qar ron rsd rub sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd
    tzs uah usd uyu uzs wst xcd yer zar zmw
    """
)
_PAYSTACK = _codes("ngn ghs zar kes usd xof egp rwf")
_SYMBOLS = {
    "usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "ngn": "₦", "inr": "₹", "krw": "₩", "ils": "₪", "vnd": "₫",
    "cad": "CA$", "aud": "A$", "nzd": "NZ$", "hkd": "HK$", "mxn": "MX$", "sgd": "S$", "twd": "NT$", "brl": "R$",
    "cny": "CN¥", "ghs": "GH₵", "php": "₱",
}  # fmt: skip
_MAJOR = re.compile(r"[0-9]{1,19}(?:\.([0-9]{1,18}))?")

CURRENCIES = _ZERO_DECIMAL | _TWO_DECIMAL | _THREE_DECIMAL | _WHOLE_BUT_TIMES_100


def exponent(currency: str) -> int:
    """How many decimals lie between the major unit and what Stripe counts: 0, 2 or 3. Either case is understood."""
    code = currency.lower()
    if code in _ZERO_DECIMAL:
        return 0
    if code in _THREE_DECIMAL:
        return 3
    if code in _TWO_DECIMAL or code in _WHOLE_BUT_TIMES_100:
        return 2
    raise InvalidInput("currency", f"a currency that Stripe charges in, such as usd, not {currency[:12]!r}")


def paystack_exponent(currency: str) -> int:
    """The same for Paystack, which takes every currency times 100, XOF and RWF too."""
    if currency.lower() not in _PAYSTACK:
        raise InvalidInput(
            "currency", f"one that Paystack charges in ({' '.join(sorted(_PAYSTACK))}), not {currency[:12]!r}"
        )
    return 2


def to_paystack(amount: int, currency: str) -> int:
    """Minor units as this project counts them, as Paystack counts them: XOF and RWF have none here and two there."""
    return amount * _paystack_factor(currency)


def from_paystack(amount: int, currency: str) -> int | None:
    """What Paystack counts, in minor units as this project counts them; None where it is no whole number of them."""
    whole, rest = divmod(amount, _paystack_factor(currency))
    return None if rest else whole


def _paystack_factor(currency: str) -> int:
    return int(10 ** (paystack_exponent(currency) - exponent(currency)))


@cache  # asked for every line, and there are as many currencies as there are
def minor_step(currency: str) -> int:
    """What every line of an invoice is a multiple of: 10 with three decimals, 100 for ISK and UGX, else 1."""
    if exponent(currency) == 3:
        return 10
    return 100 if currency.lower() in _WHOLE_BUT_TIMES_100 else 1


def shown_decimals(currency: str) -> int:
    """How many decimals people write: those of the minor unit, but none for ISK and UGX."""
    return 0 if currency.lower() in _WHOLE_BUT_TIMES_100 else exponent(currency)


def parse_major(text: str, currency: str, field: str = "amount") -> int:
    """`"99.00"` as minor units; refuses signs, exponents, floats and more decimals than the currency has."""
    decimals = exponent(currency)
    match = _MAJOR.fullmatch(text) if isinstance(text, str) else None
    if match is None or len(match[1] or "") > decimals:
        raise InvalidInput(field, _amount_like(currency))
    whole, _, fraction = text.partition(".")
    amount = int(whole + fraction.ljust(decimals, "0"))
    if amount > BIGINT_MAX or (currency.lower() in _WHOLE_BUT_TIMES_100 and amount % 100):
        raise InvalidInput(field, _amount_like(currency))
    return amount


def to_major(amount: int, currency: str) -> Decimal:
    """Minor units as the major unit, with as many decimals as people write."""
    units = amount // 100 if currency.lower() in _WHOLE_BUT_TIMES_100 and amount % 100 == 0 else None
    if units is not None:
        return Decimal(units)
    return Decimal(f"{amount}E-{exponent(currency)}")


def display(amount: int, currency: str) -> str:
    """Money as people write it: `$1,234.50`, `-¥500`, `KWD 1.250`."""
    if amount % 100 == 0 and shown_decimals(currency) < exponent(currency):
        return _written(amount // 100, 0, currency)
    return _written(amount, exponent(currency), currency)


def display_price(price: Decimal, currency: str) -> str:
    """A price in minor units, with all its decimals and at least the usual ones: `$0.003`, `¥2.5`."""
    numerator, denominator = price.as_integer_ratio()
    places = shown_decimals(currency)
    while numerator * 10**places % (denominator * 10 ** exponent(currency)):
        places += 1
    return _written(numerator * 10**places // (denominator * 10 ** exponent(currency)), places, currency)


def _written(count: int, places: int, currency: str) -> str:
    """`count` units of the last of `places` decimals, with thousands apart and the currency in front."""
    code = currency.lower()
    whole, rest = divmod(abs(count), 10**places)
    decimals = f".{rest:0{places}d}" if places else ""
    return f"{'-' if count < 0 else ''}{_SYMBOLS.get(code) or code.upper() + ' '}{whole:,}{decimals}"


def _amount_like(currency: str) -> str:
    decimals = shown_decimals(currency)
    example = "99." + "0" * decimals if decimals else "99"
    return f'an amount of {currency.lower()} as a string such as "{example}", with at most {decimals} decimals'

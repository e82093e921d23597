"""Whether the bytes that arrived are what the money service sent.

Our own check and not the SDK's: that one accepts timestamps in the future and raises `TypeError`, `UnicodeDecodeError`
or `AttributeError` for a hostile header or body. Here every kind of bad input is the one error `SignatureRefused`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

from tollkeeper.domain.errors import TollkeeperError


class SignatureRefused(TollkeeperError):
    """A webhook's body or signature is not what its sender would have sent; `reason` says which part."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"webhook refused: {reason}")
        self.reason = reason


def verify_stripe(
    body: bytes, header: bytes | str | None, secret: str, now: datetime, tolerance_seconds: int = 300
) -> dict[str, Any]:
    """The event in `body`, once one `v1` signature of the `Stripe-Signature` header is proven to be its own.

    The signed time may lie `tolerance_seconds` (inclusive) before or after `now`: clocks differ both ways, and
    a header stamped in the future would otherwise stay valid for as long as its author likes.
    `secret` may be several after commas: an endpoint for thin events has one of its own, and a secret that is being
    rolled has a successor. Every failure is `SignatureRefused`. Source: https://docs.stripe.com/webhooks#verify-manually
    """
    stamp, signatures = _stripe_parts(_ascii(header))
    signed = stamp.encode("ascii") + b"." + body
    secrets = [one.strip() for one in secret.split(",") if one.strip()] or [""]
    if not any(_any_equal(_hex_digest(one, signed, hashlib.sha256), signatures) for one in secrets):
        raise SignatureRefused("no v1 signature matches the body")
    if abs(now.timestamp() - int(stamp)) > tolerance_seconds:
        raise SignatureRefused(f"signed more than {tolerance_seconds} seconds away from now")
    return _json_object(body)


def verify_paystack(body: bytes, header: bytes | str | None, secret: str) -> dict[str, Any]:
    """The event in `body`, once the `x-paystack-signature` header is proven to be its own.

    Paystack signs with the API key and states no time, so this proves who sent it but not when: the receiver has to
    know repeats by their content. Every failure is `SignatureRefused`. Source: https://paystack.com/docs/payments/webhooks
    """
    expected = _hex_digest(secret, body, hashlib.sha512)
    if not _any_equal(expected, [_ascii(header).lower()]):
        raise SignatureRefused("the signature does not match the body")
    return _json_object(body)


def _ascii(header: bytes | str | None) -> str:
    if not header:
        raise SignatureRefused("there is no signature header")
    try:
        return header.decode("ascii") if isinstance(header, bytes) else header.encode("ascii").decode("ascii")
    except UnicodeError:
        raise SignatureRefused("the signature header is not ASCII") from None


def _stripe_parts(header: str) -> tuple[str, list[str]]:
    pairs = [part.strip().partition("=") for part in header.split(",")]
    stamps = [value for name, _, value in pairs if name == "t"]
    signatures = [value for name, _, value in pairs if name == "v1"]
    if len(stamps) != 1 or not re.fullmatch("[0-9]{1,15}", stamps[0]):
        raise SignatureRefused("the signature header has no usable time")
    return stamps[0], signatures


def _hex_digest(secret: str, message: bytes, algorithm: Callable[..., Any]) -> str:
    if not secret:
        raise SignatureRefused("no secret is set to check it with")
    return hmac.new(secret.encode(), message, algorithm).hexdigest()


def _any_equal(expected: str, candidates: list[str]) -> bool:
    return any(hmac.compare_digest(expected, candidate) for candidate in candidates)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise SignatureRefused("the body is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise SignatureRefused("the body is not a JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)

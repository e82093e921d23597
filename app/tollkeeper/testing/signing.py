"""Signing webhook bodies the way the money services do, for tests of what receives them."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime


def sign_stripe(body: bytes, secret: str, now: datetime) -> str:
    """The `Stripe-Signature` header that Stripe would send with this body at `now`."""
    stamp = int(now.timestamp())
    digest = hmac.new(secret.encode(), b"%d.%s" % (stamp, body), hashlib.sha256).hexdigest()
    return f"t={stamp},v1={digest}"


def sign_paystack(body: bytes, secret: str) -> str:
    """The `x-paystack-signature` header that Paystack would send with this body."""
    return hmac.new(secret.encode(), body, hashlib.sha512).hexdigest()

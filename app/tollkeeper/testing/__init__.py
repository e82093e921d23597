"""For your own tests, and for rehearsing billing: a frozen clock, webhook signing, a stand-in for Stripe.

Needs neither pytest nor a network. Serving the stand-in on a port needs uvicorn (the `demo` extra).
"""

from tollkeeper.testing.clock import FrozenClock
from tollkeeper.testing.signing import sign_paystack, sign_stripe
from tollkeeper.testing.stripe_standin import FaultKind, Rules, StandInRemote, StripeStandIn

__all__ = [
    "FaultKind",
    "FrozenClock",
    "Rules",
    "StandInRemote",
    "StripeStandIn",
    "sign_paystack",
    "sign_stripe",
]

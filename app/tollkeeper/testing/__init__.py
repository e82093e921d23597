"""For your own tests, and for rehearsing billing: a frozen clock, webhook signing, stand-ins for Stripe and Paystack.

Needs neither pytest nor a network. Serving a stand-in on a port needs uvicorn (the `demo` extra).
"""

from tollkeeper.testing.clock import FrozenClock
from tollkeeper.testing.paystack_standin import PaystackRemote, PaystackStandIn
from tollkeeper.testing.signing import sign_paystack, sign_stripe
from tollkeeper.testing.stripe_standin import FaultKind, Rules, StandInRemote, StripeStandIn

__all__ = [
    "FaultKind",
    "FrozenClock",
    "PaystackRemote",
    "PaystackStandIn",
    "Rules",
    "StandInRemote",
    "StripeStandIn",
    "sign_paystack",
    "sign_stripe",
]

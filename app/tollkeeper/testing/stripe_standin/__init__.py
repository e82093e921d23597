"""A Stripe account to rehearse billing against: stateful, strict, and able to fail on purpose (README.md beside)."""

from tollkeeper.testing.standin.delivery import Delivery
from tollkeeper.testing.standin.faults import FaultKind
from tollkeeper.testing.standin.server import Served
from tollkeeper.testing.stripe_standin.account import Rules
from tollkeeper.testing.stripe_standin.remote import StandInRemote
from tollkeeper.testing.stripe_standin.standin import API_KEY, StripeStandIn

__all__ = ["API_KEY", "Delivery", "FaultKind", "Rules", "Served", "StandInRemote", "StripeStandIn"]

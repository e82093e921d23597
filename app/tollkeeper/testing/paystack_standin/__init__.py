"""A Paystack integration to rehearse billing against: stateful, strict, and able to fail on purpose (README.md beside)."""

from tollkeeper.testing.paystack_standin.remote import PaystackRemote
from tollkeeper.testing.paystack_standin.standin import SECRET_KEY, PaystackStandIn

__all__ = ["SECRET_KEY", "PaystackRemote", "PaystackStandIn"]

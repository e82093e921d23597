"""The outside money services, each wrapped by one module; what comes of a call is one of the outcomes.

Importing this package does not import `stripe`: `tollkeeper.payments.stripe` does so at its first call.
"""

from tollkeeper.payments.outcome import (
    Accepted,
    AccountAnswers,
    AccountCheck,
    AlreadyThere,
    Failed,
    MeterEventOutcome,
    OutcomeUnknown,
    RateLimited,
    Refused,
    Trouble,
)
from tollkeeper.payments.signature import SignatureRefused, verify_paystack, verify_stripe

__all__ = [
    "Accepted",
    "AccountAnswers",
    "AccountCheck",
    "AlreadyThere",
    "Failed",
    "MeterEventOutcome",
    "OutcomeUnknown",
    "RateLimited",
    "Refused",
    "SignatureRefused",
    "Trouble",
    "verify_paystack",
    "verify_stripe",
]

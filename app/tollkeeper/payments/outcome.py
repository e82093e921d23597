"""What came of asking an outside money service for something.

A caller decides by the kind of outcome alone, so each kind carries just what its next step needs. Nothing here is an
exception: an outcome that is not known is an everyday answer of a network, and the ledger has to write it down.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accepted:
    """Received (HTTP 200). Received is not counted: counting happens later and is read back through the sums."""

    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class AlreadyThere:
    """Refused as a repeat: an event with this identifier was received within the last day."""

    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Refused for a reason that sending the same again does not mend (HTTP 4xx).

    `error_type` `idempotency_error` means the key was used before with another body: that is for a person to look at,
    never for a new key. `replayed`: this is the stored answer of an earlier attempt, and stays so for a day under this
    idempotency key, even if its reason has been mended since.
    """

    status: int
    message: str
    code: str | None = None
    error_type: str | None = None
    request_id: str | None = None
    replayed: bool = False

    @property
    def about_the_key(self) -> bool:
        """Whether the API key is at fault and not the thing sent (HTTP 401 or 403): mend the setting, then resend."""
        return self.status in (401, 403)


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """No answer came, or none that says what happened: it may have been applied. Ask again with the same key."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The service failed (HTTP 5xx); it may have been applied.

    `replayed`: this is the stored answer of an earlier attempt, and stays so for a day under this idempotency key. The
    next attempt needs a new key with the same identifier.
    """

    status: int
    replayed: bool = False
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class RateLimited:
    """Not applied: too many calls at the moment (HTTP 429). `retry_after_seconds` is None when none was named."""

    retry_after_seconds: float | None = None
    request_id: str | None = None


Unanswered = OutcomeUnknown | Failed | RateLimited
"""No answer for now; asking again may help."""

Trouble = Refused | Unanswered
"""What can become of any call besides its answer."""


def in_words(trouble: Trouble) -> str:
    """The trouble as a person reads it."""
    match trouble:
        case OutcomeUnknown(reason):
            return f"no answer: {reason}"
        case Failed(status):
            return f"it failed with HTTP {status}"
        case RateLimited():
            return "too many calls at the moment"
        case Refused(status, message):
            return f"HTTP {status}: {message}"


MeterEventOutcome = Accepted | AlreadyThere | Trouble


@dataclass(frozen=True, slots=True)
class AccountAnswers:
    """The service answers this key."""

    livemode: bool | None = None
    """True for live money, False for a sandbox, None where the key's form does not say."""


AccountCheck = AccountAnswers | Trouble

"""Stripe, as far as this project uses it: say what was used, read back what was counted.

The one module that touches the SDK, and only at the first call: importing it costs 30 MB and a fifth of a second, which
a process that never calls Stripe should not pay.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, TypeVar

from tollkeeper.domain.errors import TollkeeperError
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

if TYPE_CHECKING:
    import stripe
    from stripe.params.billing import MeterEventCreateParams

Result = TypeVar("Result")

_REPEATED_IDENTIFIER = re.compile("an event already exists with identifier", re.IGNORECASE)
_PAGE = 100


class StripeDidNotAnswer(TollkeeperError):
    """A question to Stripe went unanswered for now; `outcome` says why."""

    transient: ClassVar[bool] = True

    def __init__(self, outcome: OutcomeUnknown | Failed | RateLimited) -> None:
        super().__init__(f"Stripe did not answer: {_in_words(outcome)}")
        self.outcome = outcome


class StripeRefused(TollkeeperError):
    """Stripe refuses to answer a question; `outcome` says why, and asking again does not help."""

    def __init__(self, outcome: Refused) -> None:
        super().__init__(f"Stripe refused: {outcome.message}")
        self.outcome = outcome


class StripePayments:
    """One Stripe account, reached with one API key (a restricted one is enough).

    The SDK's own retries are off: the caller keeps a ledger and decides what to try again, and with which key. A client
    is built at the first call in each process, because nothing in the SDK survives a fork.
    """

    def __init__(
        self,
        api_key: str,
        *,
        api_base: str | None = None,
        timeout_seconds: float = 15,
        http_client: stripe.HTTPClient | None = None,
    ) -> None:
        self._api_key = api_key
        self._api_base = api_base
        self._timeout_seconds = timeout_seconds
        self._http_client = http_client
        self._client: stripe.StripeClient | None = None
        self._client_of_process: int | None = None

    def __repr__(self) -> str:
        return f"StripePayments(api_base={self._api_base!r})"

    def send_meter_event(
        self, *, event_name: str, identifier: str, timestamp: int, payload: Mapping[str, str], idempotency_key: str
    ) -> MeterEventOutcome:
        """What came of sending one meter event; never raises for anything Stripe or the network did.

        `timestamp` is in Unix seconds. At most 100 characters in `event_name` and `identifier`, 255 in the key.
        """
        event: MeterEventCreateParams = {
            "event_name": event_name,
            "identifier": identifier,
            "timestamp": timestamp,
            "payload": dict(payload),
        }
        answer = self._outcome(
            lambda: self._stripe().v1.billing.meter_events.create(event, {"idempotency_key": idempotency_key})
        )
        if isinstance(answer, Refused) and answer.status == 400 and _REPEATED_IDENTIFIER.search(answer.message):
            return AlreadyThere(answer.request_id)
        if isinstance(answer, Trouble):
            return answer
        if getattr(answer, "identifier", None) != identifier:
            return OutcomeUnknown("the answer is not about this event")
        return Accepted(answer.last_response.request_id if answer.last_response else None)

    def meter_id_for(self, event_name: str) -> str | None:
        """The active meter that counts events of this name, if there is one.

        Raises `StripeRefused` or `StripeDidNotAnswer`, as all questions here do.
        """

        def search() -> str | None:
            meters = self._stripe().v1.billing.meters.list({"status": "active", "limit": _PAGE})
            return next((meter.id for meter in meters.auto_paging_iter() if meter.event_name == event_name), None)

        return self._answer(search)

    def metered_total(self, *, meter_id: str, customer: str, start: datetime, end: datetime) -> Decimal:
        """What the meter has counted for this Stripe customer in `[start, end)`, so far.

        Stripe sums whole minutes only, so the bounds are rounded outwards to minutes. The sums lag behind the events,
        and Stripe answers them as floats: exact up to 2**53.
        """

        def add_up() -> Decimal:
            summaries = self._stripe().v1.billing.meters.event_summaries.list(
                meter_id,
                {
                    "customer": customer,
                    "start_time": _minute_at_or_before(start),
                    "end_time": _minute_at_or_after(end),
                    "limit": _PAGE,
                },
            )
            return sum((Decimal(str(one.aggregated_value)) for one in summaries.auto_paging_iter()), Decimal(0))

        return self._answer(add_up)

    def has_final_invoice(self, *, customer: str, period_end: datetime) -> bool | Trouble:
        """Whether Stripe's own invoice over the last second before is past being a draft: one of a subscription's period."""
        last_second = int(period_end.timestamp()) - 1
        answer = self.attempt(
            lambda client: list(
                client.v1.invoices.list(
                    {"customer": customer, "created": {"gte": last_second - 3600}, "limit": _PAGE}
                ).auto_paging_iter()
            )
        )
        if isinstance(answer, Trouble):
            return answer
        return any(
            one.period_start <= last_second < one.period_end
            and one.status != "draft"
            and one.parent is not None
            and one.parent.type == "subscription_details"
            for one in answer
        )

    def attempt(self, call: Callable[[stripe.StripeClient], Result]) -> Result | Trouble:
        """What a call of the SDK came to: its answer, or what stood in its way. Never raises for either."""
        return self._outcome(lambda: call(self._stripe()))

    def ask(self, call: Callable[[stripe.StripeClient], Result]) -> Result:
        """The answer to a call of the SDK; raises `StripeRefused` or `StripeDidNotAnswer`."""
        return self._answer(lambda: call(self._stripe()))

    @property
    def livemode(self) -> bool:
        """Whether this is live money; a key whose form does not say is taken for one of a sandbox."""
        return livemode_of(self._api_key) is True

    @property
    def restricted(self) -> bool:
        """Whether the key can do only what it was given permission for."""
        return self._api_key.startswith("rk_")

    def account_ok(self) -> AccountCheck:
        """Whether Stripe answers this key, asked by listing a single meter.

        That call needs the permission *Billing Meters: read*, the one that reading back needs anyway; a restricted key
        without it is answered `Refused` with status 403, which still proves that the key is known.
        """
        answer = self._outcome(lambda: self._stripe().v1.billing.meters.list({"limit": 1}))
        if isinstance(answer, Trouble):
            return answer
        if getattr(answer, "object", None) != "list":
            return OutcomeUnknown("the answer is not a list of meters")
        return AccountAnswers(livemode=livemode_of(self._api_key))

    def _answer(self, ask: Callable[[], Result]) -> Result:
        answer = self._outcome(ask)
        if isinstance(answer, Refused):
            raise StripeRefused(answer)
        if isinstance(answer, OutcomeUnknown | Failed | RateLimited):
            raise StripeDidNotAnswer(answer)
        return answer

    def _outcome(self, call: Callable[[], Result]) -> Result | Trouble:
        import stripe

        try:
            return call()
        except stripe.StripeError as error:
            return _trouble(error)
        except Exception as error:
            # The SDK stumbles over bodies that are no error of Stripe's, such as a proxy's {"error": "Bad gateway"}.
            return OutcomeUnknown(f"{type(error).__name__} while reading the answer")

    def _stripe(self) -> stripe.StripeClient:
        if self._client is None or self._client_of_process != os.getpid():
            self._client = self._build()
            self._client_of_process = os.getpid()
        return self._client

    def _build(self) -> stripe.StripeClient:
        import stripe

        _keep_bodies_out_of_the_log()
        return stripe.StripeClient(
            self._api_key,
            max_network_retries=0,
            http_client=self._http_client or stripe.RequestsClient(timeout=self._timeout_seconds),
            base_addresses={"api": self._api_base, "meter_events": self._api_base} if self._api_base else {},
        )


def _trouble(error: stripe.StripeError) -> Trouble:
    import stripe

    status = error.http_status
    if status is None:
        return OutcomeUnknown(type(error.__cause__ or error).__name__)
    if status == 429 or isinstance(error, stripe.RateLimitError):
        return RateLimited(_seconds(_header(error, "Retry-After")), error.request_id)
    if status >= 500:
        return Failed(status, _replayed(error), error.request_id)
    if status == 409:
        return OutcomeUnknown("a call with the same idempotency key is still running")
    if status >= 400 and error.error is not None:
        return _refusal(status, error, error.error)
    return OutcomeUnknown(f"HTTP {status} with a body that is not Stripe's")


def _refusal(status: int, error: stripe.StripeError, detail: stripe.ErrorObject) -> Refused:
    return Refused(
        status=status,
        message=error.user_message or "no reason given",
        code=getattr(detail, "code", None),
        error_type=getattr(detail, "type", None),
        request_id=error.request_id,
        replayed=_replayed(error),
    )


def _replayed(error: stripe.StripeError) -> bool:
    return _header(error, "Idempotent-Replayed") == "true"


def _header(error: stripe.StripeError, name: str) -> str | None:
    return (error.headers or {}).get(name)


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", retry_after) else None


def _in_words(outcome: OutcomeUnknown | Failed | RateLimited) -> str:
    match outcome:
        case OutcomeUnknown(reason):
            return reason
        case Failed(status):
            return f"it failed with HTTP {status}"
        case RateLimited():
            return "too many calls at the moment"


def _minute_at_or_before(at: datetime) -> int:
    return int(at.timestamp()) // 60 * 60


def _minute_at_or_after(at: datetime) -> int:
    return math.ceil(at.timestamp() / 60) * 60


def livemode_of(api_key: str) -> bool | None:
    """Whether a key is for live mode, None where its form does not tell."""
    kind = re.match("(?:sk|rk)_(live|test)_", api_key)
    return kind[1] == "live" if kind else None


def _keep_bodies_out_of_the_log() -> None:
    """At level DEBUG the SDK logs whole requests and answers, which name customers: those records are dropped."""
    logging.getLogger("stripe").addFilter(_without_bodies)


def _without_bodies(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG

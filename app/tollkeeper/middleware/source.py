"""Which of the things that state a request's usage is believed: the first of route, headers and answer that does."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from decimal import Decimal

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.event import UsageState
from tollkeeper.domain.usage import Usage
from tollkeeper.extraction.estimate import estimate
from tollkeeper.extraction.headers import HeaderUsage
from tollkeeper.extraction.reading import Reading
from tollkeeper.extraction.request import RequestFacts

log = logging.getLogger(__name__)

UNKNOWN_MODEL = "unknown"


@dataclass(frozen=True, slots=True)
class Stated:
    """A request's usage, and how well it is known."""

    usage: Usage
    state: UsageState
    estimated: bool = False
    billable: bool = True


def stated_usage(
    *,
    recorded: Usage | None,
    headers: HeaderUsage | None,
    reading: Reading,
    facts: RequestFacts,
    status: int | None,
    raised: bool,
) -> Stated:
    """What the request used. `status` is None where no answer had begun.

    Nothing is charged where the route raised before its answer began. An answer that says it failed is charged only for
    what somebody states of it.
    """
    unanswered = raised and status is None
    if recorded is not None:
        return Stated(recorded, "reported", billable=not unanswered)
    if headers is not None and (headers.counted or headers.invalid):
        return Stated(_by_headers(headers, reading, facts), "unreadable" if headers.invalid else "reported")
    found = _by_answer(reading, facts, failed=status is None or status >= 400)
    if headers is None:
        return found
    model = headers.model_id or found.usage.model_id
    usage = replace(found.usage, model_id=model, compute_minutes=headers.compute_minutes)
    return Stated(usage, "reported" if reading.dialect is None else found.state, found.estimated)


def _by_headers(headers: HeaderUsage, reading: Reading, facts: RequestFacts) -> Usage:
    return Usage(
        model_id=headers.model_id or reading.model_id or facts.model_id or UNKNOWN_MODEL,
        tokens_in=headers.tokens_in,
        tokens_out=headers.tokens_out,
        compute_minutes=headers.compute_minutes,
    )


def _by_answer(reading: Reading, facts: RequestFacts, *, failed: bool) -> Stated:
    model = reading.model_id or facts.model_id
    if reading.state == "not_reported":
        if reading.dialect is None:
            return Stated(Usage(UNKNOWN_MODEL), "not_reported", billable=not failed)
        if failed or not reading.billable:
            return Stated(Usage(model or UNKNOWN_MODEL), "not_reported", billable=False)
        guess = estimate(facts, reading)
        return Stated(_usage(reading, model, guess.tokens_in, guess.tokens_out), "not_reported", estimated=True)
    return Stated(
        _usage(reading, model, reading.tokens_in, reading.tokens_out), reading.state, billable=reading.billable
    )


def _usage(reading: Reading, model: str | None, tokens_in: int, tokens_out: int) -> Usage:
    cached, written, reasoning = reading.cached_tokens_in, reading.cache_write_tokens_in, reading.reasoning_tokens_out
    counts = (model or UNKNOWN_MODEL, tokens_in, tokens_out, cached, written, reasoning)
    try:
        if not reading.units:
            return Usage(*counts)
        return Usage(*counts, units={name: Decimal(quantity) for name, quantity in reading.units.items()})
    except InvalidInput as error:
        log.warning("an answer's usage cannot be stored: %s", error)
        return Usage(UNKNOWN_MODEL)

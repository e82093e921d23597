"""What a notice says in a line or two, to whoever looks after things. Plain text; figures come as people write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tollkeeper.domain.currency import display

_MOST_OF_A_VALUE = 300


def sentence(kind: str, user_id: str | None, payload: Mapping[str, Any]) -> str:
    """The notice in words; one of a kind that is not known here is told by its name."""
    say = _SENTENCES.get(kind)
    who = _clean(user_id or "")
    return _clean(kind) if say is None else say(who, payload)


def _quota(who: str, of: Mapping[str, Any]) -> str:
    return (
        f"{who} has used {of['threshold']} % of the quota: {of['used_tokens']:,} of {of['quota_tokens']:,} tokens "
        f"in the period from {_day(of['period_start'])}"
    )


def _cap_near(who: str, of: Mapping[str, Any]) -> str:
    spent, cap = display(of["spent"], of["currency"]), display(of["spend_cap"], of["currency"])
    return f"{who} has spent {spent} of a cap of {cap} in the period from {_day(of['period_start'])}"


def _cap_reached(who: str, of: Mapping[str, Any]) -> str:
    then = {"block": "requests are refused", "throttle": "requests are slowed down"}.get(
        str(of.get("at_cap")), "requests go on"
    )
    short = of["spent"] < of["spend_cap"]
    return f"{_cap_near(who, of)}: {'a request could have passed it' if short else 'the cap is reached'}, {then}"


def _draft(who: str, of: Mapping[str, Any]) -> str:
    return f"A draft invoice of {_total(of)} is ready for {who}, {_span(of)}"


def _finalized(who: str, of: Mapping[str, Any]) -> str:
    return f"The invoice of {_total(of)} for {who} is final, {_span(of)}"


def _payment(who: str, of: Mapping[str, Any]) -> str:
    later = of.get("next_attempt_at")
    then = f"; the next attempt is on {_day(later)}" if later else "; there will be no further attempt by itself"
    return f"A payment of {_total(of)} by {who} failed (attempt {of['attempt']}){then}"


def _alarm(who: str, of: Mapping[str, Any]) -> str:
    about = f"{who}: " if who else ""
    return f"ALARM {about}{_clean(str(of['text']))}"


def _total(of: Mapping[str, Any]) -> str:
    return display(of["total_amount"], of["currency"])


def _span(of: Mapping[str, Any]) -> str:
    return f"period {_day(of['period_start'])} to {_day(of['period_end'])}"


def _day(instant: object) -> str:
    return str(instant)[:10]


def _clean(text: str) -> str:
    """One line, of bounded length, without anything that is not to be seen."""
    return "".join(c if c.isprintable() else " " for c in text)[:_MOST_OF_A_VALUE]


_SENTENCES: Mapping[str, Callable[[str, Mapping[str, Any]], str]] = {
    "quota.crossed": _quota,
    "spend_cap.near": _cap_near,
    "spend_cap.reached": _cap_reached,
    "invoice.draft_ready": _draft,
    "invoice.finalized": _finalized,
    "payment.failed": _payment,
    "alarm.raised": _alarm,
}

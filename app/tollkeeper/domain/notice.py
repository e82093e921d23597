"""Notices: facts that somebody should hear of, each told once. `subject` says what makes two of them the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from tollkeeper.domain.account import Account
from tollkeeper.domain.pricing import FINE
from tollkeeper.domain.quota import thresholds_crossed

NoticeKind: TypeAlias = Literal[
    "quota.crossed",
    "spend_cap.near",
    "spend_cap.reached",
    "invoice.draft_ready",
    "invoice.finalized",
    "payment.failed",
    "alarm.raised",
]
KINDS: tuple[NoticeKind, ...] = get_args(NoticeKind)
OPERATOR_ONLY: tuple[NoticeKind, ...] = ("alarm.raised",)
"""About a customer, and not for the customer."""

_NEAR = 80
CAP_THRESHOLDS: Mapping[int, NoticeKind] = {_NEAR: "spend_cap.near", 100: "spend_cap.reached"}


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told. The payload holds only what JSON has: instants as text, money in minor units beside its currency."""

    kind: NoticeKind
    user_id: str | None
    """The customer whom it is about; None for what concerns the operator alone."""
    subject: str
    payload: Mapping[str, object]


def quota_notices(account: Account, tokens_before: int, tokens: int, spent: int) -> list[Notice]:
    """Those of 50, 80 and 100 % of the quota that tokens went past. A larger quota makes for new ones."""
    quota = account.plan.quota
    return [
        _notice(
            "quota.crossed", account, f"{threshold} of {quota}", spent,
            threshold=threshold, quota_tokens=quota, used_tokens=tokens,
        )
        for threshold in thresholds_crossed(tokens_before, tokens, quota)
    ]  # fmt: skip


def spend_cap_notices(account: Account, spend_before: int, spend: int) -> list[Notice]:
    """Near the spend cap at 80 %, and reached. A cap that was raised makes for new ones. Spend is in fine units."""
    cap = account.plan.spend_cap
    if cap is None:
        return []
    return [
        _notice(
            CAP_THRESHOLDS[threshold], account, f"of {cap}", spend // FINE,
            threshold=threshold, at_cap=account.plan.at_cap,
        )
        for threshold in thresholds_crossed(spend_before, spend, cap * FINE, tuple(CAP_THRESHOLDS))
    ]  # fmt: skip


def cap_refusal_notice(account: Account, spent: int) -> Notice | None:
    """The cap is as good as reached: a request was refused for its sake, with 80 % of it spent, in minor units.

    With less spent it was the request that was large, and there is nothing to tell. The same notice as where the cap is
    reached to the last unit.
    """
    cap = account.plan.spend_cap
    if not cap or spent * 100 < cap * _NEAR:
        return None
    return _notice("spend_cap.reached", account, f"of {cap}", spent, threshold=100, at_cap=account.plan.at_cap)


def _notice(kind: NoticeKind, account: Account, limit: str, spent: int, **more: object) -> Notice:
    """A notice about where a customer stands in a period. The subject names the limit, so that another limit is another notice."""
    start = account.period.start.isoformat()
    payload = {
        "period_start": start,
        "period_end": account.period.end.isoformat(),
        "plan_id": account.plan.id,
        "plan_name": account.plan.name,
        "spent": spent,
        "spend_cap": account.plan.spend_cap,
        "currency": account.plan.currency,
        "upgrade_url": account.plan.upgrade_url,
        **more,
    }
    return Notice(kind, account.user_id, f"{kind} {limit} {start} {account.user_id}", payload)

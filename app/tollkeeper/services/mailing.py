"""Mailing: a notice as a mail to its customer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from tollkeeper.clock import Clock
from tollkeeper.domain.delivery import SENT, Outcome
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.mail.errors import MailDeferred, MailRefused, MailTemplateBroken
from tollkeeper.mail.message import Mail
from tollkeeper.mail.rendering import (
    render_invoice,
    render_payment_failed,
    render_quota_alert,
    render_spend_cap_alert,
)
from tollkeeper.services.notifying import Lines
from tollkeeper.storage.notices import Delivery


class MailSender(Protocol):
    """What hands a mail to a server: returns once it is taken, raises `MailRefused` or `MailDeferred`."""

    def send(self, mail: Mail) -> None: ...


class MailChannel:
    """Mails notices through one server, in the words of the templates."""

    name: Literal["mail"] = "mail"

    def __init__(self, sender: MailSender, *, templates_dir: Path | None = None, usage_url: str | None = None) -> None:
        self._sender = sender
        self._templates_dir = templates_dir
        self._usage_url = usage_url

    def deliver(self, delivery: Delivery, lines: Lines, clock: Clock) -> Outcome:
        """Send one mail to the address that the customer has now."""
        write = _LETTERS.get(delivery.kind)
        if delivery.email is None or write is None:
            return Outcome("dropped", "no mail address is known" if write else "there is no mail of this kind")
        try:
            more = {"email": delivery.email, "user_id": delivery.user_id, "templates_dir": self._templates_dir}
            self._sender.send(write(delivery.payload, lines, self._usage_url, more))
        except MailRefused as error:
            if error.stage == "sender":  # nobody's mail will be taken until that is mended
                return Outcome("put_off", str(error))
            return Outcome("refused", str(error), gone=error.stage == "recipient")
        except (MailDeferred, MailTemplateBroken, InvalidInput) as error:
            return Outcome("put_off", str(error))
        return SENT


_Letter = Callable[[Mapping[str, Any], Lines, str | None, dict[str, Any]], Mail]


def _quota(of: Mapping[str, Any], lines: Lines, usage_url: str | None, more: dict[str, Any]) -> Mail:
    return render_quota_alert(
        plan_name=of["plan_name"],
        threshold=of["threshold"],
        used_tokens=of["used_tokens"],
        quota_tokens=of["quota_tokens"],
        period_start=_instant(of["period_start"]),
        period_end=_instant(of["period_end"]),
        spent=of["spent"],
        spend_cap=of["spend_cap"],
        currency=of["currency"],
        upgrade_url=of["upgrade_url"],
        usage_url=usage_url,
        **more,
    )


def _spend_cap(of: Mapping[str, Any], lines: Lines, usage_url: str | None, more: dict[str, Any]) -> Mail:
    return render_spend_cap_alert(
        reached=of["threshold"] >= 100,
        plan_name=of["plan_name"],
        at_cap=of["at_cap"],
        spent=of["spent"],
        spend_cap=of["spend_cap"],
        currency=of["currency"],
        period_start=_instant(of["period_start"]),
        period_end=_instant(of["period_end"]),
        upgrade_url=of["upgrade_url"],
        usage_url=usage_url,
        **more,
    )


def _invoice(of: Mapping[str, Any], lines: Lines, usage_url: str | None, more: dict[str, Any]) -> Mail:
    return render_invoice(
        finalized=of["status"] == "finalized",
        invoice_id=of["invoice_id"],
        lines=lines,
        total_amount=of["total_amount"],
        currency=of["currency"],
        period_start=_instant(of["period_start"]),
        period_end=_instant(of["period_end"]),
        invoice_url=None,
        **more,
    )


def _payment_failed(of: Mapping[str, Any], lines: Lines, usage_url: str | None, more: dict[str, Any]) -> Mail:
    later = of["next_attempt_at"]
    return render_payment_failed(
        invoice_id=of["invoice_id"],
        attempt=of["attempt"],
        total_amount=of["total_amount"],
        currency=of["currency"],
        next_attempt_at=None if later is None else _instant(later),
        payment_url=of["payment_url"],
        **more,
    )


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


_LETTERS: Mapping[str, _Letter] = {
    "quota.crossed": _quota,
    "spend_cap.near": _spend_cap,
    "spend_cap.reached": _spend_cap,
    "invoice.draft_ready": _invoice,
    "invoice.finalized": _invoice,
    "payment.failed": _payment_failed,
}

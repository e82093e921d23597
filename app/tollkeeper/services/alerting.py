"""Alerting: send the notices that wait. Mail down, slow or refusing holds nothing else up, and no notice is sent twice."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from tollkeeper.domain.errors import InvalidInput, TollkeeperError
from tollkeeper.mail.errors import MailDeferred, MailRefused, MailTemplateBroken
from tollkeeper.mail.message import Mail
from tollkeeper.mail.rendering import render_quota_alert
from tollkeeper.storage.alerts import Alert, claim_alert, save_alert
from tollkeeper.storage.database import Database

log = logging.getLogger(__name__)

LEASE = timedelta(minutes=5)
"""After this a mail under way counts as lost with its process. Longer than any conversation with a mail server."""
_SHORTEST_WAIT = timedelta(seconds=30)
_LONGEST_WAIT = timedelta(hours=1)
_MOST_DEFERRED_IN_A_ROW = 3


class MailSender(Protocol):
    """What hands a mail to a server: returns once it is taken, raises `MailRefused` or `MailDeferred`."""

    def send(self, mail: Mail) -> None: ...


@dataclass(frozen=True, slots=True)
class AlertingSummary:
    """How many notices were sent, put off, and given up: refused for good, or with nowhere to go."""

    sent: int = 0
    deferred: int = 0
    failed: int = 0
    no_address: int = 0
    more: bool = False
    """The run stopped at its limit, and there is more to do at once."""


def send_pending_alerts(
    database: Database,
    mail: MailSender,
    *,
    now: datetime,
    templates_dir: Path | None = None,
    usage_url: str | None = None,
    limit: int = 20,
) -> AlertingSummary:
    """Send at most `limit` of the notices that are due. A mail server that puts three off in a row is left alone for now."""
    run = _Run(database, mail, now, templates_dir, usage_url)
    for _ in range(limit):
        if run.deferred_in_a_row >= _MOST_DEFERRED_IN_A_ROW or not run.send_next():
            return run.summary()
    return run.summary(more=True)


class _Run:
    """One run through the notices."""

    def __init__(
        self, database: Database, mail: MailSender, now: datetime, templates_dir: Path | None, usage_url: str | None
    ) -> None:
        self._database = database
        self._mail = mail
        self._now = now
        self._templates_dir = templates_dir
        self._usage_url = usage_url
        self._counts = {"sent": 0, "deferred": 0, "failed": 0, "no_address": 0}
        self.deferred_in_a_row = 0

    def summary(self, *, more: bool = False) -> AlertingSummary:
        return AlertingSummary(**self._counts, more=more)

    def send_next(self) -> bool:
        """Send the notice that is due next; False where none is."""
        with self._database.transaction() as connection:
            alert = claim_alert(connection, self._now, self._now + LEASE)
        if alert is None:
            return False
        if alert.email is None:
            self._end(alert, "no_address")
            return True
        try:
            self._mail.send(self._render(alert, alert.email))
        except MailRefused as error:
            log.warning("a quota notice for customer %r is refused: %s", alert.user_id, error)
            self._end(alert, "failed", error)
        except (MailDeferred, MailTemplateBroken, InvalidInput) as error:
            self._put_off(alert, error)
        else:
            self._end(alert, "sent")
        return True

    def _render(self, alert: Alert, email: str) -> Mail:
        return render_quota_alert(
            user_id=alert.user_id,
            email=email,
            plan_name=alert.plan_name,
            threshold=alert.threshold,
            used_tokens=alert.used_tokens,
            quota_tokens=alert.quota_tokens,
            period_start=alert.period.start,
            period_end=alert.period.end,
            spent=alert.spent,
            spend_cap=alert.spend_cap,
            currency=alert.currency,
            upgrade_url=alert.upgrade_url,
            usage_url=self._usage_url,
            templates_dir=self._templates_dir,
        )

    def _end(self, alert: Alert, state: str, error: TollkeeperError | None = None) -> None:
        self.deferred_in_a_row = 0
        self._counts[state] += 1
        with self._database.transaction() as connection:
            save_alert(
                connection,
                alert,
                state,  # type: ignore[arg-type] # one of the three that this module names
                sent_at=self._now if state == "sent" else None,
                error=None if error is None else str(error),
            )

    def _put_off(self, alert: Alert, error: TollkeeperError) -> None:
        """Try again later: the server was busy, or a template or an address has to be mended first."""
        broken = not isinstance(error, MailDeferred)
        log.log(logging.ERROR if broken else logging.WARNING, "a quota notice is put off: %s", error)
        self.deferred_in_a_row += 1
        self._counts["deferred"] += 1
        wait = min(_SHORTEST_WAIT * (1 << min(alert.attempts - 1, 16)), _LONGEST_WAIT)
        with self._database.transaction() as connection:
            save_alert(connection, alert, "pending", next_attempt_at=self._now + wait, error=str(error))

"""Mail to customers."""

from __future__ import annotations

from tollkeeper.services.alerting import send_pending_alerts

from tollkeeper_workers.process import runtime


def send_notices() -> None:
    """Send the notices that wait; they go on waiting where no mail server is set."""
    own = runtime()
    if own.mail is not None:
        send_pending_alerts(own.database, own.mail, now=own.clock.now())

"""Mail to customers."""

from __future__ import annotations

from tollkeeper.services import alerting
from tollkeeper_workers.process import runtime
from tollkeeper_workers.tasks.pacing import go_on


def send_notices() -> None:
    """Send the notices that wait; they go on waiting where no mail server is set."""
    own = runtime()
    mail, templates = own.mail, own.settings.mail_templates_dir
    if mail is not None:
        go_on(
            own.clock,
            lambda: alerting.send_pending_alerts(own.database, mail, now=own.clock.now(), templates_dir=templates).more,
        )

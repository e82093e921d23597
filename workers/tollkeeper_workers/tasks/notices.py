"""Notices on their way: one task for each channel, so that none holds up another."""

from __future__ import annotations

from tollkeeper.services.notifying import Channel, deliver_due, forget_old, spread
from tollkeeper_workers.process import runtime
from tollkeeper_workers.tasks.pacing import go_on


def send_notices() -> None:
    """Mail the notices that wait; they go on waiting where no mail server is set."""
    _deliver(runtime().mail_channel)


def post_to_slack() -> None:
    """Post the notices that wait to the operator's room and to those of customers."""
    _deliver(runtime().slack_channel)


def call_hooks() -> None:
    """Call the endpoints that notices wait for."""
    _deliver(runtime().webhook_channel)


def forget_notices() -> None:
    """Remove notices that are long told."""
    own = runtime()
    go_on(own.clock, lambda: forget_old(own.database, own.clock.now()))


def _deliver(channel: Channel | None) -> None:
    own = runtime()
    spread(own.database, own.audience, own.clock)
    if channel is not None:
        go_on(own.clock, lambda: deliver_due(own.database, channel, own.clock).more)

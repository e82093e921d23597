"""Posting: a notice as a message in a Slack room, and as a signed call of an endpoint."""

from __future__ import annotations

from typing import Any, Literal

from tollkeeper.clock import Clock
from tollkeeper.domain.delivery import OPERATOR, Outcome
from tollkeeper.notify.sentences import sentence
from tollkeeper.notify.slack import SlackSender
from tollkeeper.notify.webhook import WebhookSender, message
from tollkeeper.services.notifying import Lines
from tollkeeper.storage.notices import Delivery


class SlackChannel:
    """Posts to the operator's room, and to those of customers who have one."""

    name: Literal["slack"] = "slack"

    def __init__(self, sender: SlackSender, operator_url: str | None) -> None:
        self._sender = sender
        self._operator_url = operator_url

    def deliver(self, delivery: Delivery, lines: Lines, clock: Clock) -> Outcome:
        """Post one sentence into the room as it is set now."""
        url = self._operator_url if delivery.target == OPERATOR else delivery.slack_webhook_url
        if url is None:
            return Outcome("dropped", "no room is set any more")
        return self._sender.send(url, sentence(delivery.kind, delivery.user_id, delivery.payload))


class WebhookChannel:
    """Calls endpoints. The id is the notice's own, so a receiver folds what comes twice."""

    name: Literal["webhook"] = "webhook"

    def __init__(self, sender: WebhookSender) -> None:
        self._sender = sender

    def deliver(self, delivery: Delivery, lines: Lines, clock: Clock) -> Outcome:
        """Call the endpoint, if it is still wanted."""
        if delivery.endpoint_url is None or delivery.endpoint_secret is None:
            return Outcome("dropped", "its endpoint was removed")
        data: dict[str, Any] = {"user_id": delivery.user_id, **delivery.payload}
        body = message(delivery.kind, delivery.created_at, data)
        message_id = f"msg_{delivery.notice_id.hex}"
        return self._sender.send(delivery.endpoint_url, delivery.endpoint_secret, message_id, clock.now(), body)

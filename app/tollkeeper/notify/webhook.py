"""Webhooks out, signed as the Standard Webhooks specification says: https://www.standardwebhooks.com

A receiver takes the id to fold repeats into one, the timestamp to refuse old copies, and the signature over both and the body
to know that the message is ours.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import datetime

from tollkeeper.domain.delivery import Outcome
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.notify.addresses import AddressForbidden, Unresolvable
from tollkeeper.notify.post import NoAnswer, Poster

PREFIX = "whsec_"
_SECRET_BYTES = 32


def new_secret(random: Callable[[int], bytes]) -> str:
    """A secret to sign by, in the form that verifying libraries take."""
    return PREFIX + base64.b64encode(random(_SECRET_BYTES)).decode()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the HMAC-SHA256 over id, timestamp and body, each with a dot between."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    content = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def message(kind: str, at: datetime, data: Mapping[str, object]) -> bytes:
    """The body: what happened, when, and its facts. The same notice is the same bytes at every attempt."""
    body = {"type": kind, "timestamp": at.isoformat().replace("+00:00", "Z"), "data": data}
    return json.dumps(body, separators=(",", ":"), sort_keys=True).encode()


class WebhookSender:
    """Calls endpoints that customers and the operator named."""

    def __init__(self, poster: Poster) -> None:
        self._poster = poster

    @property
    def allow_loopback(self) -> bool:
        return self._poster.allow_loopback

    def send(self, url: str, secret: str, message_id: str, now: datetime, body: bytes) -> Outcome:
        """Deliver one message. Every 2xx is taken for received; 410 means that nobody is there any more."""
        timestamp = int(now.timestamp())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(secret, message_id, timestamp, body),
        }
        try:
            answer = self._poster.post(url, body, headers)
        except (InvalidInput, AddressForbidden) as error:
            return Outcome("refused", str(error))
        except (NoAnswer, Unresolvable) as error:
            return Outcome("put_off", str(error))
        detail = f"HTTP {answer.status}"
        if 200 <= answer.status < 300:
            return Outcome("sent", detail, status=answer.status)
        if answer.status == 410:
            return Outcome("refused", detail, status=410, gone=True)
        return Outcome("put_off", detail, status=answer.status, retry_after=answer.retry_after)

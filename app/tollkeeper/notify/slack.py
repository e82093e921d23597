"""Slack's incoming webhooks: one message to one room."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from tollkeeper.domain.delivery import SENT, Outcome
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.notify.addresses import AddressForbidden, Unresolvable, check_url
from tollkeeper.notify.post import NoAnswer, Poster

HOSTS = frozenset({"hooks.slack.com", "hooks.slack-gov.com"})
MAX_TEXT = 3000
# What Slack says of a message or a room that will not do; anything else may be better in a minute.
_FOR_GOOD = frozenset({400, 403, 404, 410})


def check_slack_url(url: str, field: str = "slack_url") -> str:
    """The address of a room as Slack gave it out, or `InvalidInput`."""
    parts = check_url(url, field)
    if parts.hostname not in HOSTS or parts.port not in (None, 443) or not parts.path.startswith("/services/"):
        raise InvalidInput(field, "the address of an incoming webhook, https://hooks.slack.com/services/…")
    return url


def escaped(text: str) -> str:
    """Text that Slack shows as it is: nobody's name becomes a link, or calls the whole room."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class SlackSender:
    """Posts messages. `api_base` stands in for Slack itself in rehearsals; the address of the room is checked all the same."""

    def __init__(self, poster: Poster, *, api_base: str | None = None) -> None:
        self._poster = poster
        self._api_base = None if api_base is None else api_base.rstrip("/")

    def send(self, url: str, text: str) -> Outcome:
        """Put one message into a room. The text is plain; its special characters are escaped here."""
        try:
            check_slack_url(url)
            body = json.dumps({"text": escaped(text[:MAX_TEXT])}).encode()
            answer = self._poster.post(self._target(url), body, {"Content-Type": "application/json"})
        except (InvalidInput, AddressForbidden) as error:
            return Outcome("refused", str(error))
        except (NoAnswer, Unresolvable) as error:
            return Outcome("put_off", f"Slack: {error}", system=True)
        if answer.status == 200:
            return SENT
        kind = "refused" if answer.status in _FOR_GOOD else "put_off"
        return Outcome(
            kind,  # type: ignore[arg-type] # one of the two
            f"Slack: HTTP {answer.status}",
            status=answer.status,
            retry_after=answer.retry_after,
            system=answer.status >= 500,
        )

    def _target(self, url: str) -> str:
        return url if self._api_base is None else f"{self._api_base}{urlsplit(url).path}"

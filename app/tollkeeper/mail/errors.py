"""How mail fails. The texts name no address and quote no server: both end up in logs."""

from __future__ import annotations

from typing import ClassVar, Literal

from tollkeeper.domain.errors import TollkeeperError

Stage = Literal["sender", "recipient", "message"]


class MailRefused(TollkeeperError):
    """The server will never take this mail.

    `stage` is what it objected to: only `recipient` says anything about the customer's address.
    """

    def __init__(self, stage: Stage, reply: str) -> None:
        super().__init__(f"the mail server refused the {stage}: {reply}")
        self.stage = stage
        self.reply = reply


class MailDeferred(TollkeeperError):
    """The mail was not taken, or nobody knows whether it was; a later attempt may succeed.

    Where the connection broke before the last reply, the server may have taken the mail all the same. The next attempt
    has the same `Message-ID`, so mail programs can fold the two into one.
    """

    transient: ClassVar[bool] = True


class MailTemplateBroken(TollkeeperError):
    """A template cannot be filled in."""

    def __init__(self, template: str, reason: str) -> None:
        super().__init__(f"mail template {template}: {reason}")
        self.template = template

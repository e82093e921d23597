"""One mail, ready to be handed to a server."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tollkeeper.domain.customer import validate_email
from tollkeeper.domain.errors import InvalidInput

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Mail:
    """To one address, in two parts that say the same.

    `message_id` is what stands before the @ in the `Message-ID` header; whoever sends the mail adds its own domain.
    Raises `InvalidInput` for anything that could become a second address or a header of its own.
    """

    to: str
    subject: str
    text: str
    html: str
    message_id: str

    def __post_init__(self) -> None:
        validate_email(self.to)
        if not self.subject or _CONTROL.search(self.subject):
            raise InvalidInput("subject", "one line of text")
        if not _ID.fullmatch(self.message_id):
            raise InvalidInput("message_id", "letters, digits, - and _")

"""Signing: short notes that we hand out and get back, such as a session in a cookie, and that nobody else can write."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tollkeeper.domain.errors import InvalidInput

LONGEST = 2_048


@dataclass(frozen=True, slots=True)
class Note:
    """A note as it came back. Its values are what was written only once `is_signed_with` says so."""

    values: list[Any]
    _written: bytes = field(repr=False)
    _signature: bytes = field(repr=False)

    def is_signed_with(self, secret: bytes) -> bool:
        """Whether it was signed with this secret; takes as long for a wrong signature as for a right one."""
        return hmac.compare_digest(_signature(secret, self._written), self._signature)


def signed(values: Sequence[object], secret: bytes) -> str:
    """The values, readable by everybody and signed, in characters that a cookie takes."""
    written = json.dumps(list(values)).encode()
    return f"{_text(written)}.{_text(_signature(secret, written))}"


def read_note(text: str) -> Note:
    """A note that still has to be checked; `InvalidInput` for what cannot be one."""
    parts = text.split(".")
    try:
        if len(text) > LONGEST or len(parts) != 2:
            raise ValueError
        written, signature = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts)
        values = json.loads(written)
        if not isinstance(values, list):
            raise ValueError
    except (ValueError, RecursionError):
        raise InvalidInput("session", "a note of ours") from None
    return Note(values, written, signature)


def _signature(secret: bytes, written: bytes) -> bytes:
    return hmac.digest(secret, b"tollkeeper note\n" + written, hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")

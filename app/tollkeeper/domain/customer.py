"""Who is billed: what a customer's name and mail address may look like."""

from __future__ import annotations

import re
import unicodedata

from tollkeeper.domain.errors import InvalidInput

MAX_NAME_BYTES = 255
_ATOM = r"[^\s@,;:<>()\[\]\\\".]+"
_EMAIL = re.compile(rf"(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@(?!-){_ATOM}(?:(?<!-)\.(?!-){_ATOM})*(?<!-)")


def validate_user_id(user_id: str) -> str:
    """The host app's own name for a customer: 1 to 255 bytes of UTF-8 without control characters."""
    return plain_text(user_id, "user_id")


def validate_email(email: str) -> str:
    """One mail address; lists, display names, blanks and control characters are refused."""
    if not isinstance(email, str) or len(email) > 254 or not _is_plain(email) or not _EMAIL.fullmatch(email):
        raise InvalidInput("email", "one mail address such as ada@example.com")
    return email


def plain_text(value: str, field: str) -> str:
    """The text itself, if a column, a header and a log line can hold it: 1 to 255 bytes, no control characters."""
    if not isinstance(value, str) or not _is_plain(value):
        raise InvalidInput(field, f"1 to {MAX_NAME_BYTES} bytes of UTF-8 without control characters")
    return value


def _is_plain(value: str) -> bool:
    """Ends early on long text, so that a megabyte costs nothing."""
    if not 0 < len(value) <= MAX_NAME_BYTES:
        return False
    if value.isascii():
        return value.isprintable()
    # Cc are control characters, Cs lone surrogates, which have no UTF-8.
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        return False
    return len(value.encode()) <= MAX_NAME_BYTES

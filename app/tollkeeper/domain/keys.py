"""API keys: made of 256 random bits, kept only as a hash, recognised by their first characters."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from tollkeeper.domain.errors import InvalidInput

PREFIX = "tk_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LENGTH = 43  # 62^43 > 2^256
_KEY = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_LENGTH}}}")
_SHOWN = len(PREFIX) + 8


def generate_key(random: Callable[[int], bytes]) -> str:
    """A new key out of 32 bytes of `random`, which must be fit for secrets."""
    number = int.from_bytes(random(32), "big")
    digits = []
    for _ in range(_LENGTH):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return PREFIX + "".join(reversed(digits))


def looks_like_key(text: str) -> bool:
    """Whether this could be one of our keys at all; what could not need not be looked up."""
    return _KEY.fullmatch(text) is not None


def hash_key(key: str) -> bytes:
    """SHA-256 of the key. A plain hash is enough, because 256 random bits cannot be guessed."""
    try:
        return hashlib.sha256(key.encode()).digest()
    except UnicodeEncodeError as error:
        raise InvalidInput("key", "text that has a UTF-8 form") from error


def key_prefix(key: str) -> str:
    """The part that may be shown and stored, by which people recognise the key."""
    return key[:_SHOWN]

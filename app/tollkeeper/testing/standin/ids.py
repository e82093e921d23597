"""Identities in the style of money services: a prefix that says what it is, and letters and digits that say nothing."""

from __future__ import annotations

import hashlib
import secrets
import string
from itertools import count

_ALPHABET = string.digits + string.ascii_letters


class Ids:
    """An endless row of identities, none twice; the same row again for the same seed."""

    def __init__(self, seed: str | None = None) -> None:
        self._seed = secrets.token_hex(8) if seed is None else seed
        self._numbers = count(1)

    def new(self, prefix: str, length: int = 24) -> str:
        digest = int.from_bytes(hashlib.sha256(f"{self._seed}:{next(self._numbers)}".encode()).digest(), "big")
        letters = []
        for _ in range(length):
            digest, rest = divmod(digest, len(_ALPHABET))
            letters.append(_ALPHABET[rest])
        return f"{prefix}_{''.join(letters)}"

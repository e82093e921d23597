"""The head of a request, looked at once: what its headers say, in the form in which it is needed later."""

from __future__ import annotations

from functools import lru_cache

from starlette.types import Scope

TEXT_BYTES = 255
_PATH_REMEMBERED = 256


class Head:
    """What the request says of itself before its body. Of a header that comes twice the first counts."""

    __slots__ = ("fields", "method", "path")

    def __init__(self, scope: Scope) -> None:
        self.fields: dict[bytes, bytes] = dict(reversed(list(scope["headers"])))
        self.method = storable(scope["method"])
        """As the database takes it; `path` too."""
        self.path = storable(scope["path"])

    @property
    def content_length(self) -> int:
        """The length that the header states, 0 where it states none."""
        value = self.fields.get(b"content-length", b"")
        return int(value) if value.isdigit() and len(value) < 19 else 0

    @property
    def request_id(self) -> str | None:
        """The caller's own name for the request, as the database takes it."""
        value = self.fields.get(b"x-request-id")
        return None if value is None else storable(value.decode("latin-1"))


def storable(text: str) -> str:
    """Text from outside as the database takes it: no NUL, no lone surrogate, at most 255 bytes."""
    return _storable(text) if len(text) <= _PATH_REMEMBERED else _cleaned(text)


def _cleaned(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace")[:TEXT_BYTES].decode("utf-8", "ignore")


_storable = lru_cache(1024)(_cleaned)

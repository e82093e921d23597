"""How much generated text stands at a place of an answer."""

from __future__ import annotations

from typing import NamedTuple


class LongText(NamedTuple):
    """A string that was too long to keep: only its size in bytes, as written in the JSON."""

    size: int


def text_size(value: object) -> int:
    """UTF-8 bytes of a string, of a list of text parts (strings or objects with `text`), and 0 for anything else."""
    if type(value) is str:
        # JSON may spell half a surrogate pair; that is text too.
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if type(value) is LongText:
        return value.size
    if type(value) is list:
        return sum(text_size(part.get("text") if type(part) is dict else part) for part in value)
    return 0

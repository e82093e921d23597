"""How much generated text stands at a place of an answer."""

from __future__ import annotations

from typing import NamedTuple


class LongText(NamedTuple):
    """A string that was too long to keep: only its size in bytes, as written in the JSON."""

    size: int


def text_size(value: object) -> int:
    """UTF-8 bytes of a string, or of a list of text parts (strings, or objects with `text`); 0 for anything else."""
    if type(value) is str:
        return _string_size(value)
    if type(value) is list:
        return sum(_part_size(part.get("text") if type(part) is dict else part) for part in value)
    return _part_size(value)


def _part_size(value: object) -> int:
    if type(value) is str:
        return _string_size(value)
    return value.size if type(value) is LongText else 0


def _string_size(text: str) -> int:
    # JSON may spell half a surrogate pair; that is text too.
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

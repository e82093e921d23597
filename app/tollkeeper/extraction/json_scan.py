"""Reads JSON in pieces and keeps only what stands at known places.

For bodies too large to hold: an embeddings answer of 100 MB is read with a few kilobytes of memory. Values at other
places are skipped by regular expressions at the speed of C, without checking more of them than strings and brackets.
What is kept has the shape it had, so that a dialect cannot tell it from a decoded body; only long strings are replaced
by their size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from tollkeeper.extraction.text import LongText

Places: TypeAlias = dict[str, "Places"]
"""The keys worth reading, as a tree; an empty branch is a value to keep whole. Lists are looked through."""

LONGEST_STRING: Final = 1_024
"""Strings at known places that are longer, in bytes as written, are replaced by a `LongText`."""
LONGEST_LITERAL: Final = 64
"""Numbers of more characters are not believed (a count has at most 19)."""
LONGEST_LIST: Final = 4_096
"""Further elements of a list at a known place are skipped."""

# A group that can backtrack is made atomic, `(?>…)`, and not possessive: Python before 3.11.5 matches the latter wrongly
# (github.com/python/cpython/issues/106052).
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_STRING_BODY: Final = re.compile(rb'(?>(?:[^"\\]++|\\.)*)', re.DOTALL)
_LITERAL_BODY: Final = re.compile(rb"[-+.0-9A-Za-z]*+")
_OPENING: Final = re.compile(rb"[\[{]++")
_CLOSING: Final = re.compile(rb"[\]}]++")
_INTEGER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_WORDS: Final[dict[bytes, Any]] = {
    b"null": None,
    b"true": True,
    b"false": False,
    b"NaN": float("nan"),
    b"Infinity": float("inf"),
    b"-Infinity": float("-inf"),
}
_QUOTE, _BACKSLASH, _COMMA, _COLON = b'"'[0], b"\\"[0], b","[0], b":"[0]
_OPEN_OBJECT, _CLOSE_OBJECT, _OPEN_LIST, _CLOSE_LIST = b"{"[0], b"}"[0], b"["[0], b"]"[0]


def _skippable(levels: int) -> bytes:
    """A pattern for what can be skipped in one go: anything but brackets, or whole brackets nested so many levels deep.

    Nothing is given back once it matched, so a bracket that is not closed in time costs one look at each level and no more.
    """
    nested = rb"" if levels == 0 else rb"|[\[{]" + _skippable(levels - 1) + rb"[\]}]"
    return rb'(?>(?:[^"\[\]{}]++|"(?>(?:[^"\\]++|\\.)*)"' + nested + rb")*)"


_SKIPPABLE: Final = re.compile(_skippable(levels=3), re.DOTALL)


def tree_of(places: Iterable[str]) -> Places:
    """The places, given as keys joined by dots, as a tree."""
    root: Places = {}
    for place in places:
        branch = root
        for key in place.split("."):
            branch = branch.setdefault(key, {})
    return root


class Malformed(Exception):
    """This is not JSON."""


class Scanner:
    """Reads one JSON text after another and hands each object, pruned to the known places, to `emit`.

    A list at the top is taken for a series of texts (Gemini's stream without SSE is one). Work is linear in the bytes
    fed, memory is bounded by the tree of places and the three limits above.
    """

    __slots__ = (
        "_branch",
        "_depth",
        "_emit",
        "_escaped",
        "_key",
        "_rest_of_list",
        "_root",
        "_size",
        "_stack",
        "_state",
        "_token",
        "malformed",
        "steps",
        "whole",
    )

    def __init__(self, root: Places, emit: Callable[[Any], None]) -> None:
        self._root = root
        self._emit = emit
        self._stack: list[tuple[Any, Places]] = []
        self._state: Callable[[bytes, int], int] = self._value
        self._branch: Places | None = root
        self._key: str | None = None
        self._token: bytearray | None = None
        self._size = 0
        self._escaped = False
        self._depth = 0
        self._rest_of_list = False
        self.malformed = False
        self.whole = False
        """At least one text was read to its end and none is open."""
        self.steps = 0
        """How often a state was entered or left a run of brackets; a measure of the work done."""

    def feed(self, data: bytes) -> None:
        """Read on. After malformed JSON everything is ignored."""
        position, end = 0, len(data)
        try:
            while position < end and not self.malformed:
                self.steps += 1
                position = self._state(data, position)
        except Malformed:
            self.malformed = True

    def partial(self) -> Any:
        """What is known of the object that is still open, or None; the value being read counts only if it is text."""
        container = next((container for container, _ in self._stack if container is not _SERIES), None)
        if container is None:
            return None
        holder = self._stack[-1][0]
        if self._state == self._string_value and self._key is not None and type(holder) is dict:
            holder[self._key] = LongText(self._size)
        return container

    # One method per state. Each reads from a position and returns the next one.

    def _value(self, data: bytes, position: int) -> int:
        position = self._after_space(data, position)
        if position == len(data):
            return position
        self.whole = False
        first = data[position]
        if first == _QUOTE:
            self._begin_string(self._string_value, wanted=self._branch is not None)
        elif first == _OPEN_OBJECT:
            self._open({}, self._key_or_end)
        elif first == _OPEN_LIST:
            self._open([], self._value_or_end)
        else:
            self._token = bytearray()
            self._state = self._literal
            return position
        return position + 1

    def _value_or_end(self, data: bytes, position: int) -> int:
        position = self._after_space(data, position)
        if position < len(data):
            if data[position] == _CLOSE_LIST:
                return self._close(_CLOSE_LIST, position)
            self._state = self._value
        return position

    def _key_or_end(self, data: bytes, position: int) -> int:
        position = self._after_space(data, position)
        if position < len(data):
            if data[position] == _CLOSE_OBJECT:
                return self._close(_CLOSE_OBJECT, position)
            self._state = self._key_start
        return position

    def _key_start(self, data: bytes, position: int) -> int:
        position = self._after_space(data, position)
        if position == len(data):
            return position
        if data[position] != _QUOTE:
            raise Malformed
        self._begin_string(self._string_key, wanted=True)
        return position + 1

    def _colon(self, data: bytes, position: int) -> int:
        position = self._after_space(data, position)
        if position == len(data):
            return position
        if data[position] != _COLON:
            raise Malformed
        self._state = self._value
        return position + 1

    def _comma_or_end(self, data: bytes, position: int) -> int:
        position = self._after_space(data, position)
        if position == len(data):
            return position
        if data[position] != _COMMA:
            return self._close(data[position], position)
        if type(self._stack[-1][0]) is dict:
            self._state = self._key_start
        else:
            self._expect_element()
        return position + 1

    def _string_key(self, data: bytes, position: int) -> int:
        position, over = self._string(data, position)
        if over:
            branch = self._stack[-1][1]
            key = self._text()
            known = isinstance(key, str) and key in branch
            self._key = key if isinstance(key, str) and known else None
            self._branch = branch[self._key] if self._key is not None else None
            self._state = self._colon
        return position

    def _string_value(self, data: bytes, position: int) -> int:
        position, over = self._string(data, position)
        if over:
            self._finish(self._text() if self._branch is not None else None)
        return position

    def _string_skipped(self, data: bytes, position: int) -> int:
        position, over = self._string(data, position)
        if over:
            self._state = self._skip
        return position

    def _literal(self, data: bytes, position: int) -> int:
        stop = _LITERAL_BODY.match(data, position).end()  # type: ignore[union-attr] # matches anything, if only nothing
        token = self._token
        assert token is not None
        if len(token) <= LONGEST_LITERAL:
            token += data[position : min(stop, position + LONGEST_LITERAL + 1)]
        if stop < len(data):
            self._finish(_literal_value(bytes(token)))
        return stop

    def _skip(self, data: bytes, position: int) -> int:
        end = len(data)
        while True:
            position = _SKIPPABLE.match(data, position).end()  # type: ignore[union-attr] # matches anything
            if position == end:
                return position
            self.steps += 1
            if data[position] == _QUOTE:
                self._begin_string(self._string_skipped, wanted=False)
                return position + 1
            opening = _OPENING.match(data, position)
            if opening:
                self._depth += opening.end() - position
                position = opening.end()
                continue
            run = _CLOSING.match(data, position).end() - position  # type: ignore[union-attr] # it is no other bracket
            if run >= self._depth:
                return self._skipped(data, position + self._depth)
            self._depth -= run
            position += run

    def _skipped(self, data: bytes, position: int) -> int:
        """What was skipped is over: a value, or the rest of a list."""
        if self._rest_of_list:
            self._rest_of_list = False
            return self._close(data[position - 1], position - 1)
        self._finish(None)
        return position

    # What the states share.

    def _begin_string(self, state: Callable[[bytes, int], int], *, wanted: bool) -> None:
        self._token = bytearray() if wanted else None
        self._size = 0
        self._state = state

    def _string(self, data: bytes, position: int) -> tuple[int, bool]:
        """Read on in a string: the next position, and whether the string is over."""
        start = position
        if self._escaped:
            self._escaped = False
            position += 1
        stop = _STRING_BODY.match(data, position).end()  # type: ignore[union-attr] # matches anything, if only nothing
        over = stop < len(data) and data[stop] == _QUOTE
        if stop < len(data) and not over:
            self._escaped = True  # the backslash is the last byte there is
            stop += 1
        self._size += stop - start
        token = self._token
        if token is not None and len(token) <= LONGEST_STRING:
            token += data[start : min(stop, start + LONGEST_STRING + 1)]
        return (stop + 1 if over else stop), over

    def _text(self) -> str | LongText:
        token = self._token
        assert token is not None
        if self._size > LONGEST_STRING:
            return LongText(self._size)
        text = bytes(token).decode("utf-8", "replace")
        if "\\" not in text:
            return text
        try:
            return str(json.loads(f'"{text}"', strict=False))
        except ValueError:
            raise Malformed from None

    def _open(self, container: Any, state: Callable[[bytes, int], int]) -> None:
        branch = self._branch
        if not self._stack and type(container) is list:
            self._stack.append((_SERIES, self._root))
            self._state = state
            return
        nested_list = type(container) is list and bool(self._stack) and type(self._stack[-1][0]) is not dict
        if branch is None or nested_list:
            self._depth = 1
            self._state = self._skip
            return
        if self._stack:
            self._attach(container)
        self._stack.append((container, branch))
        self._state = state

    def _close(self, bracket: int, position: int) -> int:
        container, _ = self._stack.pop()
        if bracket != (_CLOSE_OBJECT if type(container) is dict else _CLOSE_LIST):
            raise Malformed
        if container is _SERIES or not self._stack:
            self._text_over(container)
        else:
            if self._stack[-1][0] is _SERIES:
                self._emit(container)
            self._state = self._comma_or_end
        return position + 1

    def _finish(self, value: Any) -> None:
        """A value without brackets, or one that was skipped, is over."""
        if not self._stack:
            self._text_over(None)
            return
        self._attach(value)
        self._state = self._comma_or_end

    def _attach(self, value: Any) -> None:
        holder = self._stack[-1][0]
        if type(holder) is list:
            holder.append(value)
        elif holder is not _SERIES and self._key is not None:
            holder[self._key] = value

    def _expect_element(self) -> None:
        holder, branch = self._stack[-1]
        if type(holder) is list and len(holder) >= LONGEST_LIST:
            self._rest_of_list = True
            self._depth = 1
            self._state = self._skip
            return
        self._branch = branch
        self._state = self._value

    def _text_over(self, container: Any) -> None:
        """A whole JSON text was read; another may follow."""
        if type(container) is dict:
            self._emit(container)
        self._branch = self._root
        self._state = self._value
        self.whole = True

    @staticmethod
    def _after_space(data: bytes, position: int) -> int:
        return _SPACE.match(data, position).end()  # type: ignore[union-attr] # matches anything, if only nothing


class _Series:
    """Stands on the stack for a list at the top."""


_SERIES: Final = _Series()


def _literal_value(token: bytes) -> Any:
    if token in _WORDS:
        return _WORDS[token]
    if len(token) > LONGEST_LITERAL:
        return float("inf")
    if _INTEGER.fullmatch(token):
        return int(token)
    if _NUMBER.fullmatch(token):
        return float(token)
    raise Malformed

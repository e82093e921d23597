"""Bodies of JSON: one document, one a line (NDJSON), or a list of them sent in pieces."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final

import orjson

from tollkeeper.extraction.dialects import TREE, take
from tollkeeper.extraction.json_scan import Malformed, Scanner
from tollkeeper.extraction.tally import Tally

LARGEST_HELD: Final = 65_536
"""A JSON text of at most this many bytes is held and decoded at once; a larger one is scanned as it goes by."""

_decode = json.JSONDecoder(strict=False).decode


def decode(data: bytes | bytearray) -> Any:
    """The value of a JSON text. Raises `Malformed`, also for what nests too deep or counts too high to decode.

    Bytes that are no UTF-8 become replacement characters: they can spoil a text, never the structure around it.
    """
    try:
        return orjson.loads(data)
    except ValueError:
        return _decode_leniently(data)


def _decode_leniently(data: bytes | bytearray) -> Any:
    """For what is read all the same: bare control characters, half surrogate pairs, NaN, bytes that are no UTF-8."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    try:
        return _decode(text)
    except (ValueError, RecursionError):
        raise Malformed from None


def read_text(data: bytes | bytearray, tally: Tally) -> bool:
    """Note what a held JSON text says, as far as it is there; True if it was whole."""
    try:
        value = decode(data)
    except Malformed:
        return scan_text(bytes(data), tally)
    take_value(value, tally)
    return True


def take_value(value: Any, tally: Tally) -> None:
    """Note one object, or each object of a list."""
    if type(value) is list:
        for element in value:
            take(element, tally)
    else:
        take(value, tally)


def take_open(scanner: Scanner, tally: Tally) -> bool:
    """Note what a scanner has of a text that did not come to its end; True if it had come to it after all."""
    if scanner.whole:
        return True
    tally.truncated = True
    take(scanner.partial(), tally)
    tally.truncated = False
    tally.doubt = tally.doubt or scanner.malformed
    return False


def scan_text(data: bytes, tally: Tally) -> bool:
    """The same for a text that is known not to decode: the beginning of one, or one nested too deep."""
    scanner = Scanner(TREE, partial(take, tally=tally))
    scanner.feed(data)
    return take_open(scanner, tally)


class JsonBody:
    """Reads a body that begins with a bracket.

    Whether it is NDJSON shows at its first line: a JSON text of its own or not. A text longer than `LARGEST_HELD` hands
    the rest of the body to a scanner, whatever the chunks are that it comes in.
    """

    __slots__ = ("_by_line", "_held", "_scanner", "_searched")

    def __init__(self, *, lines: bool) -> None:
        self._by_line: bool | None = True if lines else None
        self._held: bytes | bytearray = b""
        self._searched = 0
        self._scanner: Scanner | None = None

    def feed(self, data: bytes, tally: Tally) -> None:
        """Read on."""
        if self._scanner is not None:
            self._scanner.feed(data)
            return
        if self._held:
            # A bytearray from the second chunk on: bytes would be copied with each.
            self._held = self._held if isinstance(self._held, bytearray) else bytearray(self._held)
            self._held += data
        else:
            self._held = data
        if self._by_line is not False:
            self._take_lines(tally)
        if len(self._held) > LARGEST_HELD:
            self._scanner = Scanner(TREE, partial(take, tally=tally))
            self._scanner.feed(bytes(self._held))
            self._held = b""

    def flush(self, tally: Tally) -> None:
        """Note, in a copy of the tally, what is still open; the body may go on afterwards."""
        if self._scanner is not None:
            whole = take_open(self._scanner, tally)
        elif self._held:
            whole = read_text(self._held, tally)
        else:
            whole = self._by_line is True
        if whole and not tally.more_expected:
            tally.ended = True

    def _take_lines(self, tally: Tally) -> None:
        if self._held.find(b"\n", self._searched) < 0:
            self._searched = len(self._held)
            return
        held = self._held = self._held if isinstance(self._held, bytearray) else bytearray(self._held)
        while 0 <= (stop := held.find(b"\n", self._searched)) <= LARGEST_HELD:
            line = bytes(held[:stop])
            if line and not line.isspace():
                try:
                    value = decode(line)
                except Malformed:
                    if not self._by_line:
                        self._by_line = False
                        return
                    tally.doubt = True
                else:
                    self._by_line = True
                    take_value(value, tally)
            del held[: stop + 1]
            self._searched = 0
        self._searched = len(held)

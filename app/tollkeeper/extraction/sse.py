"""Server-sent events: lines ended by CR, LF or both, comments, data over several lines, cut anywhere."""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from tollkeeper.extraction.dialects import TREE, take
from tollkeeper.extraction.json_body import LARGEST_HELD, decode, read_text, scan_text, take_open, take_value
from tollkeeper.extraction.json_scan import Malformed, Scanner
from tollkeeper.extraction.tally import Tally

_LINE_END: Final = re.compile(rb"[\r\n]")
_LONGEST_PREFIX: Final = len(b"data: ")


class SseBody:
    """Reads the data of the events; everything else in the stream says nothing about use.

    A data line that is a JSON text by itself is read when the line ends, not when the event does: clients that read
    lines act on it then. Only data that goes over several lines waits for the empty line.
    """

    __slots__ = ("_after_cr", "_discarding", "_event", "_line", "_streaming")

    def __init__(self) -> None:
        self._line = bytearray()
        self._after_cr = False
        self._event: _EventData | None = None
        self._streaming = False
        self._discarding = False

    def feed(self, data: bytes, tally: Tally) -> None:
        """Read on."""
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if not data:
            return
        self._after_cr = data.endswith(b"\r")
        if self._line or self._streaming or self._discarding:
            data = self._finish_line(data, tally)
            if not data:
                return
        lines = data.splitlines()
        last = b"" if data[-1] in b"\r\n" else lines.pop()
        for line in lines:
            self._take_line(line, tally)
        if last:
            self._hold(last, tally)

    def flush(self, tally: Tally) -> None:
        """Note, in a copy of the tally, what is still open; the stream may go on afterwards."""
        line = bytes(self._line)
        data = _data_of(line)
        if self._event is not None:
            self._event.flush(data, tally)
        elif data is not None:
            _flush_line(data, tally)

    def _finish_line(self, data: bytes, tally: Tally) -> bytes:
        """Add to the open line up to its end; what comes after it."""
        found = _LINE_END.search(data)
        if found is None:
            self._hold(data, tally)
            return b""
        stop = found.start()
        self._hold(data[:stop], tally)
        if self._streaming or self._discarding:
            self._streaming = self._discarding = False
        else:
            line = bytes(self._line)
            self._line.clear()
            self._take_line(line, tally)
        return data[stop + (2 if data.startswith(b"\r\n", stop) else 1) :]

    def _hold(self, data: bytes, tally: Tally) -> None:
        """Keep the beginning of a line; one that grows too long is passed on as it comes."""
        if self._streaming and self._event is not None:
            self._event.add(data)
        elif not self._discarding:
            self._line += data
            if len(self._line) > LARGEST_HELD + _LONGEST_PREFIX:
                self._stream_line(tally)

    def _stream_line(self, tally: Tally) -> None:
        data = _data_of(bytes(self._line))
        self._line.clear()
        if data is None:
            self._discarding = True
            return
        self._streaming = True
        self._add_line(data, tally)

    def _take_line(self, line: bytes, tally: Tally) -> None:
        if not line:
            if self._event is not None:
                self._event.finish(tally)
                self._event = None
            return
        data = _data_of(line)
        if data is None or (self._event is None and _take_at_once(data, tally)):
            return
        self._add_line(data, tally)

    def _add_line(self, data: bytes, tally: Tally) -> None:
        if self._event is None:
            self._event = _EventData(tally)
        else:
            self._event.begin_line()
        self._event.add(data)


class _EventData:
    """The data of one event that could not be read at once: long, over several lines, or broken."""

    __slots__ = ("_held", "_lines", "_scanner", "_tally")

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._held = bytearray()
        self._lines = 1
        self._scanner: Scanner | None = None

    def begin_line(self) -> None:
        self._lines += 1
        self.add(b"\n")

    def add(self, data: bytes) -> None:
        if self._scanner is not None:
            self._scanner.feed(data)
            return
        self._held += data
        if len(self._held) > LARGEST_HELD:
            self._scanner = Scanner(TREE, partial(take, tally=self._tally))
            self._scanner.feed(bytes(self._held))
            self._held.clear()

    def finish(self, tally: Tally) -> None:
        if self._scanner is not None:
            whole = take_open(self._scanner, tally)
        elif self._lines > 1:
            whole = read_text(bytes(self._held), tally)
        else:
            whole = scan_text(bytes(self._held), tally)
        if not whole:
            tally.doubt = True

    def flush(self, more: bytes | None, tally: Tally) -> None:
        if self._scanner is not None:
            take_open(self._scanner, tally)
        else:
            read_text(bytes(self._held) + (b"" if more is None else b"\n" + more), tally)


def _data_of(line: bytes) -> bytes | None:
    """The value of a data line; None for every other line."""
    if line.startswith(b"data:"):
        return line[6:] if line.startswith(b" ", 5) else line[5:]
    return b"" if line == b"data" else None


def _take_at_once(data: bytes, tally: Tally) -> bool:
    """Read data that is complete, or no JSON; False if it needs the lines that follow."""
    if not data.lstrip().startswith((b"{", b"[")):
        return True
    if data.rstrip() == b"[DONE]":
        tally.end()
        return True
    if len(data) > LARGEST_HELD:
        return False
    try:
        take_value(decode(data), tally)
    except Malformed:
        return False
    return True


def _flush_line(data: bytes, tally: Tally) -> None:
    if data.rstrip() == b"[DONE]":
        tally.end()
    elif data.lstrip().startswith((b"{", b"[")):
        read_text(data, tally)

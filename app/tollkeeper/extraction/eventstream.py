"""Binary event streams of AWS: frames of headers and payload, each with two checksums.

Format: https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html. A frame larger than `LARGEST_FRAME` is passed
over; the frames that state use have a few hundred bytes.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from typing import Final

from tollkeeper.extraction.dialects import bedrock, take
from tollkeeper.extraction.json_body import decode
from tollkeeper.extraction.json_scan import Malformed
from tollkeeper.extraction.tally import Tally

LARGEST_FRAME: Final = 262_144
PRELUDE: Final = 12
_CHECKSUM: Final = 4
_STRING: Final = 7
_VALUE_SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_prelude = struct.Struct(">III").unpack_from


def is_prelude(data: bytes) -> bool:
    """Whether this is the beginning of a frame: the first eight bytes match the checksum after them."""
    return len(data) >= PRELUDE and zlib.crc32(data[:8]) == int.from_bytes(data[8:PRELUDE], "big")


class EventStreamBody:
    """Reads the frames; after one that is broken nothing can be found any more."""

    __slots__ = ("_broken", "_held", "_passing")

    def __init__(self) -> None:
        self._held = bytearray()
        self._passing = 0
        self._broken = False

    def feed(self, data: bytes, tally: Tally) -> None:
        """Read on."""
        if self._passing:
            passed = min(self._passing, len(data))
            self._passing -= passed
            data = data[passed:]
        if self._broken:
            return
        self._held += data
        position = 0
        while not self._passing and (size := self._frame_size(position, tally)):
            if size > len(self._held) - position:
                position = self._wait(position, size, tally)
                break
            self._take_frame(bytes(self._held[position : position + size]), tally)
            position += size
        del self._held[:position]

    def flush(self, tally: Tally) -> None:
        """A frame that is not whole says nothing."""

    def _frame_size(self, position: int, tally: Tally) -> int:
        """The size of the frame that begins here, 0 if that cannot be told."""
        prelude = bytes(self._held[position : position + PRELUDE])
        if len(prelude) < PRELUDE:
            return 0
        size, header_size, _ = _prelude(prelude)
        if not is_prelude(prelude) or size < PRELUDE + header_size + _CHECKSUM:
            self._broken = tally.doubt = True
            return 0
        return int(size)

    def _wait(self, position: int, size: int, tally: Tally) -> int:
        """Hold the beginning of a frame until the rest comes, unless the frame is too large."""
        if size <= LARGEST_FRAME:
            return position
        tally.doubt = True
        self._passing = size - (len(self._held) - position)
        return len(self._held)

    def _take_frame(self, frame: bytes, tally: Tally) -> None:
        if len(frame) > LARGEST_FRAME or zlib.crc32(frame[:-_CHECKSUM]) != int.from_bytes(frame[-_CHECKSUM:], "big"):
            tally.doubt = True
            return
        header_size = _prelude(frame)[1]
        headers = _read_headers(frame[PRELUDE : PRELUDE + header_size])
        if headers.get(":message-type") == "event":
            payload = frame[PRELUDE + header_size : -_CHECKSUM]
            _take_payload(headers.get(":event-type", ""), payload, tally)


def _take_payload(event_type: str, payload: bytes, tally: Tally) -> None:
    try:
        event = decode(payload)
        if event_type == "chunk" and type(event) is dict:
            event = decode(base64.b64decode(event.get("bytes", ""), validate=True))
            bedrock.note_metrics(event, tally)
            take(event, tally)
            return
    except (Malformed, binascii.Error, TypeError, ValueError):
        tally.doubt = True
        return
    take({event_type: event}, tally)


def _read_headers(data: bytes) -> dict[str, str]:
    """The headers that are strings; reading stops where the block is not well formed."""
    headers: dict[str, str] = {}
    position = 0
    while position < len(data):
        name_end = position + 1 + data[position]
        kind = data[name_end : name_end + 1]
        if not kind:
            break
        start = name_end + 1
        if kind[0] in _VALUE_SIZES:
            position = start + _VALUE_SIZES[kind[0]]
            continue
        size = int.from_bytes(data[start : start + 2], "big")
        if kind[0] == _STRING:
            name = data[position + 1 : name_end].decode("utf-8", "replace")
            headers[name] = data[start + 2 : start + 2 + size].decode("utf-8", "replace")
        position = start + 2 + size
    return headers

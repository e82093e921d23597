"""Reads the use out of an answer while it goes by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol

from tollkeeper.extraction.decoding import Decoder, Undecodable, decoder_for
from tollkeeper.extraction.json_body import JsonBody
from tollkeeper.extraction.reading import Reading
from tollkeeper.extraction.request import RequestFacts
from tollkeeper.extraction.sse import SseBody
from tollkeeper.extraction.tally import Tally

_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"
_LONGEST_OPENING: Final = 64
_SSE_LINE: Final = re.compile(rb"(?:data|event|id|retry)?:")
_SSE_BEGINNINGS: Final = (b"data:", b"event:", b"id:", b"retry:")


class Body(Protocol):
    """Reads one way of putting events into a body."""

    def feed(self, data: bytes, tally: Tally) -> None:
        """Read on."""

    def flush(self, tally: Tally) -> None:
        """Note, in a copy of the tally, what is still open."""


class AnswerReader:
    """Reads one answer. Never raises, whatever the bytes are, and holds a few hundred kilobytes at most."""

    __slots__ = (
        "_body",
        "_content_type",
        "_decoder",
        "_fed",
        "_length",
        "_method",
        "_opaque",
        "_opening",
        "_path",
        "_request",
        "_silent",
        "_status",
        "_tally",
    )

    def __init__(
        self,
        *,
        method: str,
        path: str,
        status: int,
        content_type: bytes | None,
        content_encoding: bytes | None,
        headers: Sequence[tuple[bytes, bytes]] = (),
        request: RequestFacts | None = None,
    ) -> None:
        self._method = method
        self._path = path
        self._status = status
        self._request = request
        self._content_type = (content_type or b"").lower()
        self._tally = Tally()
        self._body: Body | None = None
        self._opening = b""
        self._opaque = False
        self._silent = method == "HEAD" or status in (204, 304)
        self._decoder: Decoder | None = None
        self._fed = 0
        self._length = _declared_length(headers)
        try:
            self._decoder = decoder_for(content_encoding)
        except Undecodable:
            self._tally.doubt = self._opaque = True

    def feed(self, chunk: bytes | bytearray | memoryview) -> bool:
        """Read on; True once the frame that ends the answer is in what was fed, or its declared length is reached."""
        if self._silent:
            return False
        self._fed += len(chunk)
        if not self._opaque:
            data = chunk if type(chunk) is bytes else bytes(chunk)
            if self._decoder is None:
                self._read(data)
            else:
                self._read_encoded(self._decoder, data)
        return self._tally.terminal or self._fed == self._length

    def finish(self) -> Reading:
        """What the answer said so far. May be asked more than once, also before the end."""
        tally = self._tally.copy()
        if self._body is None and self._opening:
            body = self._choose(self._opening, last=True)
            if body is not None:
                body.feed(self._opening, tally)
                body.flush(tally)
        elif self._body is not None:
            self._body.flush(tally)
        counts, state = tally.counts()
        model_id = tally.model_id
        if model_id is None and self._request is not None:
            model_id = self._request.model_id
        return Reading(
            state=state,
            model_id=model_id,
            tokens_in=counts.tokens_in,
            tokens_out=counts.tokens_out,
            cached_tokens_in=counts.cached_tokens_in,
            cache_write_tokens_in=counts.cache_write_tokens_in,
            reasoning_tokens_out=counts.reasoning_tokens_out,
            units=counts.units,
            seen_text_bytes=tally.text_bytes,
            ended=tally.ended,
            billable=not self._silent and (state == "reported" or self._status < 400),
            dialect=None if tally.dialect is None else tally.dialect.NAME,
        )

    def _read_encoded(self, decoder: Decoder, data: bytes) -> None:
        try:
            for piece in decoder.decode(data):
                if piece:
                    self._read(piece)
        except Undecodable:
            self._tally.doubt = self._opaque = True

    def _read(self, data: bytes) -> None:
        if self._body is None:
            if self._opaque:
                return
            self._opening += data
            body = self._choose(self._opening, last=False)
            if body is None:
                return
            self._body = body
            data, self._opening = self._opening.removeprefix(_BOM), b""
        self._body.feed(data, self._tally)

    def _choose(self, opening: bytes, *, last: bool) -> Body | None:
        """How the body is put together, by its first bytes; None while that is open, or if there is nothing to read."""
        text = opening.removeprefix(_BOM).lstrip(_SPACE)
        if text.startswith((b"{", b"[")):
            return JsonBody(lines=b"ndjson" in self._content_type or b"jsonl" in self._content_type)
        if b"event-stream" in self._content_type or _SSE_LINE.match(text):
            return SseBody()
        if last or len(text) >= _LONGEST_OPENING or not any(b.startswith(text) for b in _SSE_BEGINNINGS):
            self._opaque = not last
        return None


def _declared_length(headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    for name, value in headers:
        if len(name) == 14 and name.lower() == b"content-length":
            return int(value) if value.isdigit() and len(value) < 19 else None
    return None

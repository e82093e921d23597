"""Reads the use out of an answer while it goes by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Protocol

from tollkeeper.extraction.decoding import Decoder, Undecodable, decoder_for
from tollkeeper.extraction.dialects import Dialect, bedrock, by_path
from tollkeeper.extraction.eventstream import PRELUDE, EventStreamBody, is_prelude
from tollkeeper.extraction.json_body import JsonBody
from tollkeeper.extraction.reading import Reading
from tollkeeper.extraction.request import RequestFacts
from tollkeeper.extraction.sse import SseBody
from tollkeeper.extraction.tally import Tally

_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"
_SSE_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")
_COUNTS_TOKENS: Final = re.compile(
    r"(?:/count[_-]tokens|/input_tokens|/(?:de)?tokenize|:countTokens|:computeTokens)/?\Z",
)
_SHORTEST_ID: Final = 6


class Body(Protocol):
    """Reads one way of putting events into a body."""

    def feed(self, data: bytes, tally: Tally) -> None:
        """Read on."""

    def flush(self, tally: Tally) -> None:
        """Note, in a copy of the tally, what is still open."""


class AnswerReader:
    """Reads one answer. Never raises, whatever the bytes are; holds at most a frame, a line or a JSON text of bounded size.

    How the body is put together (JSON, lines, server-sent events, binary frames) is told by its first bytes, because
    content types are often missing or wrong; which API it comes from, by the shape of its events.
    """

    __slots__ = (
        "_body",
        "_content_type",
        "_decoder",
        "_fed",
        "_headers",
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
        self._content_type = content_type.lower() if content_type else b""
        self._headers = headers
        self._request = request
        self._tally = Tally()
        self._body: Body | None = None
        self._decoder: Decoder | None = None
        self._opening = b""
        self._opaque = False
        self._silent = method == "HEAD" or status in (204, 304)
        self._fed = 0
        self._length = _declared_length(headers)
        if content_encoding:
            try:
                self._decoder = decoder_for(content_encoding)
            except Undecodable:
                self._give_up()

    def feed(self, chunk: bytes | bytearray | memoryview) -> bool:
        """Read on; True once the frame that ends the answer is in what was fed, or its declared length is reached."""
        if self._silent:
            return False
        data = chunk if type(chunk) is bytes else bytes(chunk)
        self._fed += len(data)
        if not self._opaque:
            if self._decoder is None:
                self._read(data)
            else:
                self._read_encoded(self._decoder, data)
        return self._tally.terminal or self._fed == self._length

    def finish(self) -> Reading:
        """What the answer said so far. May be asked more than once, also before the end."""
        tally = self._tally.copy()
        if self._body is not None:
            self._body.flush(tally)
        if not tally.raw and tally.earlier is None and tally.fallback is None:
            tally.fallback = bedrock.header_counts(self._headers)
        counts, state = tally.counts()
        dialect = tally.dialect or self._expected_dialect(tally)
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
            billable=self._is_billable(tally, reported=state == "reported"),
            dialect=None if dialect is None else dialect.NAME,
        )

    def _read_encoded(self, decoder: Decoder, data: bytes) -> None:
        try:
            for piece in decoder.decode(data):
                if piece:
                    self._read(piece)
        except Undecodable:
            self._give_up()

    def _give_up(self) -> None:
        self._tally.doubt = self._opaque = True

    def _read(self, data: bytes) -> None:
        if self._body is None:
            # Some services keep the connection alive with empty lines before the answer.
            opening = data
            if self._opening or not data.startswith(b"{"):
                opening = (self._opening + data).removeprefix(_BOM).lstrip(_SPACE)
            self._body = self._choose(opening)
            self._opening = b"" if self._body is not None or self._opaque else opening
            if self._body is None:
                return
            data = opening
        self._body.feed(data, self._tally)

    def _choose(self, opening: bytes) -> Body | None:
        """How the body is put together; None while its first bytes leave that open, or if there is nothing to read."""
        if opening.startswith((b"{", b"[")):
            return JsonBody(lines=b"ndjson" in self._content_type or b"jsonl" in self._content_type)
        if b"amazon.eventstream" in self._content_type or is_prelude(opening):
            return EventStreamBody()
        if opening.startswith(_SSE_FIELDS) or (opening and b"event-stream" in self._content_type):
            return SseBody()
        begun = any(field.startswith(opening) for field in _SSE_FIELDS) or _BOM.startswith(opening)
        self._opaque = not begun and not (opening.startswith(b"\0") and len(opening) < PRELUDE)
        return None

    def _expected_dialect(self, tally: Tally) -> Dialect | None:
        """The API that was called, by the path, where nothing of its answer could be looked at.

        The request must have named a model: `/messages` may well be a path of an app that has nothing to do with AI.
        """
        if self._request is None or self._request.model_id is None or self._method != "POST":
            return None
        cut_off = not (self._opaque or tally.ended or tally.unclaimed)
        unreadable = tally.doubt or self._content_type.startswith(b"audio/")
        return by_path(self._path) if cut_off or unreadable else None

    def _is_billable(self, tally: Tally, *, reported: bool) -> bool:
        """Whether this answer is a use of its own, and one that was served."""
        if self._silent or tally.free or (self._status >= 400 and not reported):
            return False
        if _counts_tokens(self._path):
            return False
        return not self._is_poll(tally)

    def _is_poll(self, tally: Tally) -> bool:
        """Whether the answer was made by an earlier request: the path names it, or it ran in the background."""
        call_id = tally.call_id
        if call_id is not None and len(call_id) >= _SHORTEST_ID and call_id in self._path:
            return call_id in self._path.split("/")
        return self._method == "GET" and tally.background


@lru_cache(1024)
def _counts_tokens(path: str) -> bool:
    return _COUNTS_TOKENS.search(path) is not None


def _declared_length(headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    for name, value in headers:
        if len(name) == 14 and name.lower() == b"content-length":
            return int(value) if value.isdigit() and len(value) < 19 else None
    return None

"""Undoes content encodings beside the stream: the client's bytes stay as they are.

A few bytes can stand for gigabytes. Output is taken in pieces, and an answer may unfold to `FREE_BYTES` plus
`LARGEST_RATIO` times what was fed; past that it is not read further. Recorded answers reach a ratio of 42.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

FREE_BYTES: Final = 1_048_576
LARGEST_RATIO: Final = 128
MOST_ENCODINGS: Final = 3
MOST_GZIP_MEMBERS: Final = 1_024
_PIECE: Final = 65_536
_SLICE: Final = 16_384
_SMALL_SLICE: Final = 64
_WIDEST_ZSTD_WINDOW: Final = 8_388_608  # RFC 9659


class Undecodable(Exception):
    """The bytes are not in the encoding they are said to be in, or unfold to more than is read."""


class Decoder(Protocol):
    """Undoes one encoding."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """What the data unfolds to, in pieces. Raises `Undecodable`."""


def decoder_for(content_encoding: bytes | None) -> Decoder | None:
    """The decoder for a Content-Encoding header, None where there is nothing to undo.

    Raises `Undecodable` for an encoding that is unknown or whose library is not installed.
    """
    if not content_encoding:
        return None
    names = [name.strip() for name in content_encoding.lower().split(b",")]
    names = [name for name in names if name not in (b"", b"identity")]
    if not names:
        return None
    if len(names) > MOST_ENCODINGS:
        raise Undecodable
    return _Chain([_one(name) for name in reversed(names)])


def _one(name: bytes) -> Decoder:
    maker = _MAKERS.get(name)
    if maker is None:
        raise Undecodable
    return maker()


class _Chain:
    """Several encodings, the last applied undone first, under one limit."""

    __slots__ = ("_allowed", "_decoders")

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders
        self._allowed = FREE_BYTES

    def decode(self, data: bytes) -> Iterator[bytes]:
        self._allowed += LARGEST_RATIO * len(data)
        return self._through(data, 0)

    def _through(self, data: bytes, index: int) -> Iterator[bytes]:
        if index == len(self._decoders):
            yield data
            return
        for start in range(0, len(data), _SLICE):
            for piece in self._decoders[index].decode(data[start : start + _SLICE]):
                self._allowed -= len(piece)
                if self._allowed < 0:
                    raise Undecodable
                yield from self._through(piece, index + 1)


class _Gzip:
    """One gzip member after another; what follows the last one is ignored, as browsers do."""

    __slots__ = ("_members", "_over", "_stream")

    def __init__(self) -> None:
        self._stream: Any = None
        self._members = 0
        self._over = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data and not self._over:
            if self._stream is None and not self._begin(data):
                return
            yield from _inflated(self._stream, data)
            data = self._stream.unused_data
            if self._stream.eof:
                self._stream = None

    def _begin(self, data: bytes) -> bool:
        if self._members and not data.startswith(b"\x1f"):
            self._over = True
            return False
        self._members += 1
        if self._members > MOST_GZIP_MEMBERS:
            raise Undecodable
        self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
        return True


class _Deflate:
    """The zlib format, or the bare one that some servers send under the same name."""

    __slots__ = ("_begun", "_first", "_stream")

    def __init__(self) -> None:
        self._stream: Any = None
        self._first = b""

    def decode(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            self._first += data
            if len(self._first) < 2:
                return
            data = self._first
            wrapped = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0  # RFC 1950 section 2.2
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        if not self._stream.eof:
            yield from _inflated(self._stream, data)


def _inflated(stream: Any, data: bytes) -> Iterator[bytes]:
    while True:
        try:
            piece = stream.decompress(data, _PIECE)
        except zlib.error:
            raise Undecodable from None
        if piece:
            yield piece
        data = stream.unconsumed_tail
        if stream.eof or (not data and len(piece) < _PIECE):
            return


class _Brotli:
    __slots__ = ("_error", "_stream")

    def __init__(self) -> None:
        library = _library("brotli")
        self._stream = library.Decompressor()
        self._error = library.error

    def decode(self, data: bytes) -> Iterator[bytes]:
        try:
            if hasattr(self._stream, "can_accept_more_data"):
                yield self._stream.process(data, output_buffer_limit=_PIECE)
                while not self._stream.can_accept_more_data():
                    yield self._stream.process(b"", output_buffer_limit=_PIECE)
            else:
                for start in range(0, len(data), _SMALL_SLICE):
                    yield self._stream.process(data[start : start + _SMALL_SLICE])
        except self._error:
            raise Undecodable from None


class _Zstd:
    __slots__ = ("_error", "_stream")

    def __init__(self) -> None:
        library = _library("zstandard")
        decompressor = library.ZstdDecompressor(max_window_size=_WIDEST_ZSTD_WINDOW)
        self._stream = decompressor.decompressobj(read_across_frames=True)
        self._error = library.ZstdError

    def decode(self, data: bytes) -> Iterator[bytes]:
        try:
            for start in range(0, len(data), _SMALL_SLICE):
                yield self._stream.decompress(data[start : start + _SMALL_SLICE])
        except self._error:
            raise Undecodable from None


def _library(name: str) -> Any:
    """An optional library, imported when an answer first needs it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise Undecodable from None


_MAKERS: Final[dict[bytes, Callable[[], Decoder]]] = {
    b"gzip": _Gzip,
    b"x-gzip": _Gzip,
    b"deflate": _Deflate,
    b"br": _Brotli,
    b"zstd": _Zstd,
}

"""Content encodings are undone beside the stream."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped] # it brings no types
import pytest
import zstandard

from tollkeeper.extraction.answer import AnswerReader
from tollkeeper.extraction.decoding import MOST_GZIP_MEMBERS
from unit.extraction.samples import DONE, SAMPLES, chat_chunk, read, sse, use_of


def bare_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(body) + stream.flush()


ENCODINGS: list[tuple[bytes, Callable[[bytes], bytes]]] = [
    (b"gzip", gzip.compress),
    (b"X-Gzip", gzip.compress),
    (b"gzip", lambda body: gzip.compress(body[:20]) + gzip.compress(body[20:])),
    (b"gzip", lambda body: gzip.compress(body) + b"\0\0padding"),
    (b"deflate", zlib.compress),
    (b"deflate", bare_deflate),
    (b"br", brotli.compress),
    (b"zstd", zstandard.compress),
    (b"zstd", lambda body: zstandard.compress(body[:20]) + zstandard.compress(body[20:])),
    (b"identity", lambda body: body),
    (b" gzip , BR ", lambda body: brotli.compress(gzip.compress(body))),
]


@pytest.mark.parametrize(
    ("encoding", "encode"), ENCODINGS, ids=lambda value: repr(value) if isinstance(value, bytes) else ""
)
@pytest.mark.parametrize("size", [1, 13, 1 << 20])
def test_an_encoded_answer_is_read_like_a_plain_one(
    encoding: bytes, encode: Callable[[bytes], bytes], size: int
) -> None:
    for sample in SAMPLES[:4] + SAMPLES[-8:]:
        body = encode(sample.body)
        pieces = [body[place : place + size] for place in range(0, len(body), size)]
        reading = read(b"", pieces=pieces, content_type=sample.content_type, content_encoding=encoding)
        assert (reading.state, use_of(reading)) == ("reported", sample.use)


def test_an_event_is_read_as_soon_as_its_encoded_bytes_are_flushed() -> None:
    stream = zlib.compressobj(wbits=31)
    reader = AnswerReader(
        method="POST", path="/", status=200, content_type=b"text/event-stream", content_encoding=b"gzip"
    )
    first = sse(chat_chunk({"content": "x"}, {"prompt_tokens": 5, "completion_tokens": 1}))
    assert not reader.feed(stream.compress(first) + stream.flush(zlib.Z_SYNC_FLUSH))
    assert reader.finish().tokens_in == 5
    assert reader.feed(stream.compress(sse(DONE)) + stream.flush(zlib.Z_SYNC_FLUSH))


@pytest.mark.parametrize("encoding", [b"", b",", b" , identity"])
def test_an_empty_encoding_is_none(encoding: bytes) -> None:
    assert use_of(read(SAMPLES[0].body, content_encoding=encoding)) == SAMPLES[0].use


@pytest.mark.parametrize("encoding", [b"compress", b"x", b"gzip, gzip, gzip, gzip", b"\xff"])
def test_an_encoding_that_cannot_be_undone_makes_an_answer_unreadable(encoding: bytes) -> None:
    assert read(SAMPLES[0].body, content_encoding=encoding).state == "unreadable"


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"zstd"])
def test_plain_bytes_under_an_encoding_s_name_are_unreadable(encoding: bytes) -> None:
    assert read(SAMPLES[0].body, content_encoding=encoding).state == "unreadable"


@pytest.mark.parametrize(("encoding", "library"), [(b"br", "brotli"), (b"zstd", "zstandard")])
def test_a_library_that_is_not_installed_makes_its_answers_unreadable(
    encoding: bytes, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert read(SAMPLES[0].body, content_encoding=encoding).state == "unreadable"


def test_an_older_brotli_that_cannot_bound_its_output_is_fed_little_by_little(monkeypatch: pytest.MonkeyPatch) -> None:
    newer = brotli.Decompressor

    class Decompressor:
        def __init__(self) -> None:
            self._newer = newer()

        def process(self, data: bytes) -> bytes:
            assert len(data) <= 64
            return bytes(self._newer.process(data))

    monkeypatch.setattr(brotli, "Decompressor", Decompressor)
    assert use_of(read(brotli.compress(SAMPLES[0].body), content_encoding=b"br")) == SAMPLES[0].use


def test_use_read_before_the_encoding_breaks_is_kept() -> None:
    stream = zlib.compressobj(wbits=31)
    start = stream.compress(sse(chat_chunk({"content": "x"}, {"prompt_tokens": 5, "completion_tokens": 1})))
    pieces = [start + stream.flush(zlib.Z_SYNC_FLUSH), b"garbage in here", b"and more"]
    reading = read(b"", pieces=pieces, content_encoding=b"gzip")
    assert (reading.state, reading.tokens_in) == ("unreadable", 5)


def test_an_encoded_answer_that_is_cut_off_is_no_more_than_that() -> None:
    body = gzip.compress(SAMPLES[0].body)
    assert read(body[: len(body) // 2], content_encoding=b"gzip").state == "not_reported"


@pytest.mark.parametrize(
    ("encoding", "bomb"),
    [
        (b"gzip", gzip.compress(b'{"a": "' + b"0" * 20_000_000)),
        (b"br", brotli.compress(b'{"a": "' + b"0" * 20_000_000, quality=3)),
        (b"zstd", zstandard.compress(b'{"a": "' + b"0" * 20_000_000)),
        (b"gzip, gzip", gzip.compress(gzip.compress(b'{"a": "' + b"0" * 20_000_000))),
        (b"gzip", gzip.compress(b"") * (MOST_GZIP_MEMBERS + 1)),
    ],
    ids=["gzip", "br", "zstd", "gzip twice", "many members"],
)
def test_bytes_that_unfold_beyond_measure_are_not_read_on(encoding: bytes, bomb: bytes) -> None:
    reader = AnswerReader(method="POST", path="/", status=200, content_type=None, content_encoding=encoding)
    reader.feed(bomb)
    assert reader.finish().state == "unreadable"
    assert not reader.feed(bomb)

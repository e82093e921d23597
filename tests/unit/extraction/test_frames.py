"""AWS's binary frames: split anywhere, broken anyhow."""

from __future__ import annotations

import struct
import zlib

import pytest

from unit.extraction.samples import CONVERSE_USAGE, chunk_frame, frame, message_start, read, use_of

METADATA = frame("metadata", {"usage": CONVERSE_USAGE})
TYPE = b"application/vnd.amazon.eventstream"


@pytest.mark.parametrize("content_type", [TYPE, None, b"application/octet-stream"])
def test_frames_are_known_by_their_checksum_whatever_the_content_type(content_type: bytes | None) -> None:
    assert use_of(read(METADATA, content_type=content_type)) == (117, 23, 100, 6, 0)


@pytest.mark.parametrize("place", range(0, len(METADATA), 5))
def test_a_byte_that_was_changed_is_noticed(place: int) -> None:
    broken = bytearray(METADATA)
    broken[place] ^= 0x40
    reading = read(bytes(broken), content_type=TYPE)
    assert (reading.state, reading.tokens_in) == ("unreadable", 0)


def test_a_frame_that_breaks_does_not_spoil_the_next_if_its_size_is_known() -> None:
    broken = bytearray(frame("contentBlockDelta", {"delta": {"text": "Nine"}}))
    broken[-6] ^= 1
    assert use_of(read(bytes(broken) + METADATA, content_type=TYPE)) == (117, 23, 100, 6, 0)


def test_a_frame_too_large_to_hold_is_passed_over() -> None:
    large = frame("contentBlockDelta", {"delta": {"image": "x" * 600_000}})
    for size in (50_000, 1 << 30):
        body = large + METADATA
        pieces = [body[place : place + size] for place in range(0, len(body), size)]
        reading = read(b"", pieces=pieces, content_type=TYPE)
        assert (reading.state, reading.tokens_in) == ("reported", 117)


def test_nothing_is_read_after_frames_that_make_no_sense() -> None:
    assert read(b"", pieces=[b"not a frame at all", METADATA], content_type=TYPE).tokens_in == 0


def test_a_size_that_cannot_be_is_the_end_of_reading() -> None:
    for size, header_size in ((0, 0), (15, 0), (40, 30)):
        prelude = struct.pack(">II", size, header_size)
        prelude += struct.pack(">I", zlib.crc32(prelude))
        assert read(prelude + METADATA, content_type=TYPE).state == "unreadable"


def test_an_exception_of_the_stream_states_nothing() -> None:
    body = frame("metadata", {"usage": CONVERSE_USAGE}, message_type="exception")
    assert read(body, content_type=TYPE).state == "not_reported"


def test_a_frame_that_is_not_whole_yet_states_nothing() -> None:
    reading = read(METADATA[:-1], content_type=TYPE)
    assert (reading.state, reading.ended) == ("not_reported", False)


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[1]", {"bytes": "%%%"}, {"bytes": 5}, {"bytes": "e30"}, {"bytes": "/w=="}]
)
def test_a_chunk_that_holds_no_json_is_unreadable(payload: object) -> None:
    reading = read(frame("chunk", payload), content_type=TYPE)
    assert (reading.tokens_in, reading.tokens_out) == (0, 0)
    assert reading.state == ("not_reported" if payload == b"[1]" else "unreadable")


def test_headers_of_other_kinds_are_stepped_over() -> None:
    def header(name: bytes, kind: int, value: bytes) -> bytes:
        return bytes([len(name)]) + name + bytes([kind]) + value

    headers = (
        header(b"yes", 0, b"") + header(b"byte", 2, b"1") + header(b"long", 5, b"12345678") + header(b"id", 9, b"u" * 16)
        + header(b"blob", 6, b"\x00\x02ab") + header(b":message-type", 7, b"\x00\x05event")
        + header(b":event-type", 7, b"\x00\x05chunk") + b"\x09"
    )  # fmt: skip
    payload = chunk_frame(message_start({"input_tokens": 5}))
    payload = payload[payload.index(b'{"bytes"') : -4]
    body = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body += struct.pack(">I", zlib.crc32(body)) + headers + payload
    assert read(body + struct.pack(">I", zlib.crc32(body)), content_type=TYPE).tokens_in == 5

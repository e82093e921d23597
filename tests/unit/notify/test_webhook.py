"""Signing as the Standard Webhooks specification says."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from tollkeeper.notify.webhook import message, new_secret, signature


def test_a_signature_is_what_openssl_makes_of_the_same_secret_id_timestamp_and_body() -> None:
    # printf %s 'msg_1.1700000000.{"a":1}' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…1f -binary | base64
    secret = new_secret(lambda size: bytes(range(size)))
    assert secret == "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    assert signature(secret, "msg_1", 1_700_000_000, b'{"a":1}') == "v1,AMaOha7DUT/0J0JMycRuYOBSvbx3WtwLd2khXXbaVj4="


def test_another_id_time_or_body_has_another_signature() -> None:
    secret = new_secret(lambda size: bytes(range(size)))
    signatures = {
        signature(secret, message_id, at, body)
        for message_id in ("msg_1", "msg_2")
        for at in (1, 2)
        for body in (b"{}", b"{ }")
    }
    assert len(signatures) == 8
    assert all(len(base64.b64decode(one.removeprefix("v1,"))) == 32 for one in signatures)


def test_the_same_notice_is_the_same_bytes() -> None:
    at = datetime(2026, 11, 15, 12, tzinfo=UTC)
    assert message("a.b", at, {"y": 1, "x": "é"}) == message("a.b", at, {"x": "é", "y": 1})
    assert message("a.b", at, {}) == b'{"data":{},"timestamp":"2026-11-15T12:00:00Z","type":"a.b"}'

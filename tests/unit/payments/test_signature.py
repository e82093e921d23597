from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.payments import SignatureRefused, verify_paystack, verify_stripe
from tollkeeper.testing import sign_paystack, sign_stripe

SECRET = "whsec_obviously_made_up"
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
BODY = '{"id": "evt_1", "type": "invoice.paid", "note": "é"}'.encode()
STAMP = int(NOW.timestamp())


def test_a_body_signed_by_stripe_is_read() -> None:
    assert verify_stripe(BODY, sign_stripe(BODY, SECRET, NOW), SECRET, NOW)["id"] == "evt_1"


def test_the_sdk_signs_as_we_check() -> None:
    header = stripe.WebhookSignature.generate_signature_header(BODY.decode(), SECRET, STAMP)

    assert verify_stripe(BODY, header, SECRET, NOW) == json.loads(BODY)


def test_our_signing_is_what_the_sdk_checks() -> None:
    header = sign_stripe(BODY, SECRET, NOW)

    assert stripe.WebhookSignature.verify_header(BODY, header, SECRET)


def test_the_header_may_come_as_bytes() -> None:
    assert verify_stripe(BODY, sign_stripe(BODY, SECRET, NOW).encode(), SECRET, NOW)


def test_one_right_signature_among_several_is_enough_while_a_secret_is_rolled() -> None:
    stamp, _, right = sign_stripe(BODY, SECRET, NOW).partition(",")
    _, _, old = sign_stripe(BODY, "whsec_the_one_before", NOW).partition(",")

    assert verify_stripe(BODY, f"{stamp},{old},{right},v0=ignored", SECRET, NOW)


@pytest.mark.parametrize("seconds", [-300, -1, 0, 1, 300])
def test_a_signature_within_the_tolerance_to_either_side_is_accepted(seconds: int) -> None:
    header = sign_stripe(BODY, SECRET, NOW + timedelta(seconds=seconds))

    assert verify_stripe(BODY, header, SECRET, NOW)


@pytest.mark.parametrize("seconds", [-301, 301, -86400, 86400])
def test_a_signature_too_old_or_from_the_future_is_refused(seconds: int) -> None:
    header = sign_stripe(BODY, SECRET, NOW + timedelta(seconds=seconds))

    with pytest.raises(SignatureRefused, match="seconds away"):
        verify_stripe(BODY, header, SECRET, NOW)


def test_the_tolerance_can_be_narrowed() -> None:
    header = sign_stripe(BODY, SECRET, NOW - timedelta(seconds=11))

    with pytest.raises(SignatureRefused):
        verify_stripe(BODY, header, SECRET, NOW, tolerance_seconds=10)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        b"",
        "v1=abc",
        f"t={STAMP}",
        f"t={STAMP},v0=abc",
        f"t={STAMP},v1=",
        f"t={STAMP},v1=\N{LATIN SMALL LETTER E WITH ACUTE}",
        f"t={STAMP},v1=".encode() + b"\xff\xfe",
        f"t={STAMP},v1=\udcff",
        "t=,v1=abc",
        "t=soon,v1=abc",
        "t=-1,v1=abc",
        "t=1.5,v1=abc",
        "t=\N{ARABIC-INDIC DIGIT ONE},v1=abc",
        f"t={'9' * 5000},v1=abc",
        f"t={STAMP},t={STAMP},v1=abc",
        "=,=,=",
        "nonsense",
    ],
)
def test_a_hostile_or_broken_header_is_one_kind_of_refusal(header: bytes | str | None) -> None:
    with pytest.raises(SignatureRefused):
        verify_stripe(BODY, header, SECRET, NOW)


@pytest.mark.parametrize("stamp", ["", "soon", "-1", "1.5", "1_0", "9" * 5000])
def test_a_time_that_is_no_time_is_refused_even_if_it_is_signed(stamp: str) -> None:
    digest = hmac.new(SECRET.encode(), stamp.encode() + b"." + BODY, hashlib.sha256).hexdigest()

    with pytest.raises(SignatureRefused, match="no usable time"):
        verify_stripe(BODY, f"t={stamp},v1={digest}", SECRET, NOW)


def test_two_times_are_refused_even_if_one_of_them_is_signed() -> None:
    header = sign_stripe(BODY, SECRET, NOW)

    with pytest.raises(SignatureRefused, match="no usable time"):
        verify_stripe(BODY, f"{header},t={STAMP}", SECRET, NOW)


def test_a_time_that_is_not_the_signed_one_is_refused() -> None:
    header = sign_stripe(BODY, SECRET, NOW - timedelta(days=1)).replace(str(STAMP - 86400), str(STAMP))

    with pytest.raises(SignatureRefused, match="no v1 signature matches"):
        verify_stripe(BODY, header, SECRET, NOW)


@pytest.mark.parametrize(
    ("body", "secret"), [(BODY + b" ", SECRET), (BODY, "whsec_another"), (b"", SECRET), (b"{}", SECRET)]
)
def test_another_body_or_secret_is_refused(body: bytes, secret: str) -> None:
    with pytest.raises(SignatureRefused, match="no v1 signature matches"):
        verify_stripe(body, sign_stripe(BODY, SECRET, NOW), secret, NOW)


def test_an_empty_secret_proves_nothing() -> None:
    with pytest.raises(SignatureRefused, match="no secret"):
        verify_stripe(BODY, sign_stripe(BODY, "", NOW), "", NOW)
    with pytest.raises(SignatureRefused, match="no secret"):
        verify_paystack(BODY, sign_paystack(BODY, ""), "")


HOSTILE_BODIES = [
    b"",
    b"\xff\xfe",
    b'{"a": "\xff"}',
    '{"a": 1}'.encode("utf-16"),
    b"{",
    b"[]",
    b'[{"id": "evt_1"}]',
    b"null",
    b"1",
    b'"text"',
    b'{"amount": NaN}',
    b'{"amount": -Infinity}',
    b'{"amount": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
]


@pytest.mark.parametrize("body", HOSTILE_BODIES)
def test_a_signed_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(SignatureRefused, match="JSON"):
        verify_stripe(body, sign_stripe(body, SECRET, NOW), SECRET, NOW)
    with pytest.raises(SignatureRefused, match="JSON"):
        verify_paystack(body, sign_paystack(body, SECRET), SECRET)


@given(body=st.binary(max_size=200), header=st.one_of(st.none(), st.text(max_size=200), st.binary(max_size=200)))
def test_no_bytes_at_all_raise_anything_else(body: bytes, header: bytes | str | None) -> None:
    with pytest.raises(SignatureRefused):
        verify_stripe(body, header, SECRET, NOW)
    with pytest.raises(SignatureRefused):
        verify_paystack(body, header, SECRET)


def test_a_refusal_is_ours_and_names_no_secret() -> None:
    refusal = SignatureRefused("there is no signature header")

    assert isinstance(refusal, TollkeeperError)
    assert (refusal.code, refusal.transient) == ("signature_refused", False)
    assert str(refusal) == "webhook refused: there is no signature header"


def test_a_body_signed_by_paystack_is_read() -> None:
    header = hmac.new(SECRET.encode(), BODY, hashlib.sha512).hexdigest()

    assert sign_paystack(BODY, SECRET) == header
    assert verify_paystack(BODY, header, SECRET)["type"] == "invoice.paid"
    assert verify_paystack(BODY, header.upper().encode(), SECRET)["type"] == "invoice.paid"


@pytest.mark.parametrize("header", [None, "", "abc", b"\xff", "\udcff", "0" * 128])
def test_what_paystack_did_not_sign_is_refused(header: bytes | str | None) -> None:
    with pytest.raises(SignatureRefused):
        verify_paystack(BODY, header, SECRET)


def test_paystack_signs_with_sha512_and_nothing_weaker() -> None:
    weaker = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()

    with pytest.raises(SignatureRefused, match="does not match"):
        verify_paystack(BODY, weaker, SECRET)

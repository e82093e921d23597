"""What a customer's name and mail address may look like."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain.customer import validate_email, validate_user_id
from tollkeeper.domain.errors import InvalidInput


@pytest.mark.parametrize(
    "user_id",
    [
        "u",
        "user@example.com",
        "'; drop table users; --",
        "Ünïcödé 客户 🎉",
        "a b",
        "../..",
        "x" * 255,
        "é" * 127,
        "مرحبا",
    ],
)
def test_a_user_id_is_whatever_the_host_app_calls_people(user_id: str) -> None:
    assert validate_user_id(user_id) == user_id


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "x" * 256,
        "é" * 128,
        "🎉" * 64,
        "a\x00b",
        "a\nb",
        "a\x7fb",
        "a\x85b",
        "\ud800",
        "é\udfff",
        "x" * 1000000,
        None,
        5,
        b"u",
    ],
)
def test_a_user_id_that_a_column_or_a_log_line_cannot_hold_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidInput) as refusal:
        validate_user_id(bad)
    assert refusal.value.field == "user_id"
    assert len(str(refusal.value)) < 200


@given(st.text())
def test_every_accepted_user_id_survives_utf_8_and_a_log_line(text: str) -> None:
    try:
        accepted = validate_user_id(text)
    except InvalidInput:
        return
    assert 1 <= len(accepted.encode("utf-8")) <= 255
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in accepted)


@pytest.mark.parametrize(
    "email", ["ada@example.com", "a+b.c@x.co", "ünï@example.de", "o'hara@example.com", "a@localhost"]
)
def test_one_mail_address_is_accepted(email: str) -> None:
    assert validate_email(email) == email


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "a@b@c",
        "a@example.com,b@example.com",
        "a@example.com;b@example.com",
        "a@example.com b@example.com",
        "Ada <ada@example.com>",
        "a@example.com\nBcc: b@example.com",
        "a@example.com\r",
        "a\x00@example.com",
        "a@exa\x00mple.com",
        "a@example..com",
        ".a@example.com",
        "a.@example.com",
        "a@.example.com",
        "a@example.com.",
        "a@-example.com",
        '"a b"@example.com',
        "x" * 65 + "@example.com",
        "a@" + "x" * 253,
        "ü\x85@example.com",
        "\ud800@example.com",
        None,
        5,
    ],
)
def test_what_is_not_one_mail_address_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidInput) as refusal:
        validate_email(bad)
    assert refusal.value.field == "email"

"""What a mail may be made of."""

from __future__ import annotations

from typing import Any

import pytest

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.mail.message import Mail

GOOD: dict[str, Any] = {"to": "ada@example.com", "subject": "Hello", "text": "x", "html": "<p>x", "message_id": "a1"}


def test_a_plain_mail_is_taken_as_it_is() -> None:
    assert Mail(**GOOD).to == "ada@example.com"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("to", "ada@example.com, eve@example.net"),
        ("to", "Ada <ada@example.com>"),
        ("to", "ada@example.com\r\nBcc: eve@example.net"),
        ("to", "ada\x00@example.com"),
        ("to", "ada\u2028@example.com"),
        ("subject", ""),
        ("subject", "Hello\r\nBcc: eve@example.net"),
        ("subject", "Hello\x00"),
        ("subject", "Hello\u2028there"),
        ("subject", "Hello\ud800"),
        ("message_id", ""),
        ("message_id", "a@b"),
        ("message_id", "a>\r\nBcc: eve@example.net"),
        ("message_id", "a\n"),
    ],
)
def test_whatever_could_become_another_address_or_header_is_refused(field: str, value: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Mail(**GOOD | {field: value})
    assert "example" not in str(refused.value).replace("such as ada@example.com", "")

"""Which server and which sender the settings name."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import NoReturn

import pytest

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.mail.errors import MailDeferred, MailRefused
from tollkeeper.mail.message import Mail
from tollkeeper.mail.smtp import SmtpSender

MAIL = Mail(to="ada@example.com", subject="Hello", text="x", html="<p>x", message_id="a1")


class Noon:
    def now(self) -> datetime:
        return datetime(2026, 11, 2, 12, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


def sender(url: str = "smtp://mail.example.com", mail_from: str = "billing@example.com") -> SmtpSender:
    return SmtpSender(url, mail_from, clock=Noon())


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("smtp://mail.example.com", ("mail.example.com", 25)),
        ("smtps://mail.example.com", ("mail.example.com", 465)),
        ("smtp+starttls://mail.example.com", ("mail.example.com", 587)),
        ("smtp+starttls://user:p%40ss@mail.example.com:2525/", ("mail.example.com", 2525)),
        ("SMTP://[2001:db8::1]", ("2001:db8::1", 25)),
    ],
)
def test_each_form_of_url_has_its_own_default_port(
    monkeypatch: pytest.MonkeyPatch, url: str, address: tuple[str, int]
) -> None:
    asked: list[object] = []

    def refuse(where: object, *_: object, **__: object) -> NoReturn:
        asked.append(where)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(MailDeferred, match="cannot be reached"):
        sender(url).send(MAIL)
    assert asked == [address]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example.com",
        "http://user:hunter2@mail.example.com:80",
        "smtp://",
        "smtp://:25",
        "smtp://user:hunter2@mail.example.com:99999",
        "smtp://user:hunter2@mail.example.com:port",
        "smtp://user:hunter2@[::1",
        "smtp://user:hunter2@mail.example.com/path",
        "smtp://user:hunter2@mail.example.com?tls=1",
        "smtp://user@mail.example.com",
        "smtp://user:hunter2%00@mail.example.com",
        "smtp://user:hunter2%0A@mail.example.com",
        "smtp://user:hunter2%C3%A9@mail.example.com",
    ],
)
def test_a_url_of_no_use_is_refused_by_the_settings_name_without_its_password(url: str) -> None:
    with pytest.raises(InvalidInput, match="TOLLKEEPER_SMTP_URL") as refused:
        sender(url)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize(
    "mail_from",
    [
        "",
        "billing",
        "a@example.com, b@example.com",
        "Billing <a@example.com>, b@example.com",
        "a@example.com\r\nBcc: b@example.com",
        "Billing\x00 <a@example.com>",
        "everyone: a@example.com, b@example.com;",
        "Billing <>",
        "Billing <billing@>",
        "Billing <bücher@example.com>",
        "Billing <billing@bücher.example>",
    ],
)
def test_a_from_that_is_not_one_address_is_refused_by_the_settings_name(mail_from: str) -> None:
    with pytest.raises(InvalidInput, match="TOLLKEEPER_MAIL_FROM"):
        sender(mail_from=mail_from)


def test_a_senders_representation_tells_no_password() -> None:
    speaking = sender("smtp://user:hunter2@mail.example.com")
    assert "hunter2" not in repr(speaking) + repr(vars(speaking))


def test_a_refusal_is_for_good_and_a_deferral_is_not() -> None:
    assert (MailRefused.code, MailRefused.transient) == ("mail_refused", False)
    assert (MailDeferred.code, MailDeferred.transient) == ("mail_deferred", True)

"""Handing mail to real servers, good and bad."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from email.message import EmailMessage
from typing import Any

import pytest

from tollkeeper.clock import Clock
from tollkeeper.mail.errors import MailDeferred, MailRefused
from tollkeeper.mail.message import Mail
from tollkeeper.mail.smtp import SmtpSender

StartInbox = Callable[..., Any]
ServerThat = Callable[[Callable[[Any], None]], AbstractContextManager[int]]

LOGIN = "ada%40example.com:p%40ss%3Aw%2Frd@"
PATIENCE = 0.2
# Far above the patience, for a busy machine, and far below what a server in these tests would hold out.
AT_MOST = 3.0

MAIL = Mail(
    to="grace@example.net",
    subject="You have used 80 % of your quota – 50 €",
    text="Hello,\n\n412,345 of 500,000 tokens\n.\nFrom here on: ü\n",
    html="<p>412,345 of 500,000 tokens – ü</p>",
    message_id="0f4c8a",
)


@pytest.fixture
def sender(clock: Clock) -> Callable[..., SmtpSender]:
    def build(url: str, mail_from: str = "Example Billing <billing@example.com>", patience: float = 10) -> SmtpSender:
        return SmtpSender(url, mail_from, clock=clock, timeout_seconds=patience)

    return build


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert isinstance(body, EmailMessage)
    return str(body.get_content())


def assert_tells_nothing(error: BaseException) -> None:
    """Neither the error nor the traceback that a log would show holds an address or a password."""
    shown = "".join(traceback.format_exception(error, limit=0))
    for secret in ("grace", "ada", "p@ss", "p%40ss", "billing@", "no such user"):
        assert secret not in shown


def test_a_mail_arrives_whole(start_inbox: StartInbox, sender: Callable[..., SmtpSender]) -> None:
    inbox = start_inbox()
    sender(f"smtp://127.0.0.1:{inbox.port}").send(MAIL)

    [message], [envelope] = inbox.messages, inbox.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("billing@example.com", ["grace@example.net"])
    assert message["From"] == "Example Billing <billing@example.com>"
    assert message["To"] == "grace@example.net"
    assert message["Subject"] == "You have used 80 % of your quota – 50 €"
    assert message["Date"] == "Mon, 02 Nov 2026 12:30:15 +0000"
    assert message["Message-ID"] == "<0f4c8a@example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    # No server has to take more than seven bits.
    assert envelope.original_content.isascii()
    assert message.get_content_type() == "multipart/alternative"
    assert part(message, "plain") == MAIL.text.replace("\n", "\r\n")
    assert part(message, "html").strip() == MAIL.html


def test_the_server_is_greeted_by_the_senders_own_domain(
    start_inbox: StartInbox, sender: Callable[..., SmtpSender], monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked_up() -> str:
        raise AssertionError("a name lookup could take longer than the whole mail")

    monkeypatch.setattr(socket, "getfqdn", looked_up)
    inbox = start_inbox()
    sender(f"smtp://127.0.0.1:{inbox.port}").send(MAIL)
    assert inbox.names == ["example.com"]


def test_two_mails_are_two_conversations(start_inbox: StartInbox, sender: Callable[..., SmtpSender]) -> None:
    inbox = start_inbox()
    speaking = sender(f"smtp://127.0.0.1:{inbox.port}")
    speaking.send(MAIL)
    speaking.send(MAIL)
    assert [message["Message-ID"] for message in inbox.messages] == ["<0f4c8a@example.com>"] * 2


@pytest.mark.parametrize(
    ("command", "stage"), [("MAIL", "sender"), ("RCPT", "recipient"), ("DATA", "message")], ids=lambda value: value
)
class TestAServerThatSaysNo:
    def test_5xx_is_a_refusal_that_names_the_stage_and_the_numbers_only(
        self, start_inbox: StartInbox, sender: Callable[..., SmtpSender], command: str, stage: str
    ) -> None:
        inbox = start_inbox()
        inbox.answers[command] = "550 5.1.1 no such user grace@example.net"
        with pytest.raises(MailRefused) as refused:
            sender(f"smtp://127.0.0.1:{inbox.port}").send(MAIL)
        assert str(refused.value) == f"the mail server refused the {stage}: 550 5.1.1"
        assert (refused.value.stage, refused.value.reply) == (stage, "550 5.1.1")
        assert_tells_nothing(refused.value)
        assert inbox.messages == []

    @pytest.mark.parametrize("answer", ["451 4.7.1 try grace@example.net later", "421 closing", "450 busy"])
    def test_4xx_is_a_deferral(
        self, start_inbox: StartInbox, sender: Callable[..., SmtpSender], command: str, stage: str, answer: str
    ) -> None:
        inbox = start_inbox()
        inbox.answers[command] = answer
        with pytest.raises(MailDeferred, match=rf"put the {stage} off: {answer[:3]}( 4\.7\.1)?$") as deferred:
            sender(f"smtp://127.0.0.1:{inbox.port}").send(MAIL)
        assert_tells_nothing(deferred.value)
        assert inbox.messages == []


def test_a_mail_the_server_took_is_sent_even_if_it_takes_no_goodbye(
    start_inbox: StartInbox, sender: Callable[..., SmtpSender]
) -> None:
    inbox = start_inbox()
    inbox.answers["QUIT"] = "554 no"
    sender(f"smtp://127.0.0.1:{inbox.port}").send(MAIL)
    assert len(inbox.messages) == 1


def test_a_server_that_is_not_there_defers(sender: Callable[..., SmtpSender]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(MailDeferred, match="cannot be reached") as deferred:
        sender(f"smtp://{LOGIN}127.0.0.1:{port}").send(MAIL)
    assert_tells_nothing(deferred.value)


def test_a_host_without_an_address_defers(sender: Callable[..., SmtpSender], monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(MailDeferred, match="cannot be reached"):
        sender("smtp://mail.example.com").send(MAIL)


def test_starttls_with_a_trusted_certificate_sends_encrypted(
    start_inbox: StartInbox, sender: Callable[..., SmtpSender], server_tls: Any, trusted: None
) -> None:
    inbox = start_inbox(tls_context=server_tls, require_starttls=True)
    sender(f"smtp+starttls://localhost:{inbox.port}").send(MAIL)
    assert inbox.encrypted == [True]


def test_smtps_with_a_trusted_certificate_sends_encrypted(
    start_inbox: StartInbox, sender: Callable[..., SmtpSender], server_tls: Any, trusted: None
) -> None:
    inbox = start_inbox(over_tls=server_tls)
    sender(f"smtps://127.0.0.1:{inbox.port}").send(MAIL)
    assert inbox.encrypted == [True]


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
def test_a_certificate_that_nobody_signed_is_not_trusted(
    start_inbox: StartInbox, sender: Callable[..., SmtpSender], server_tls: Any, scheme: str
) -> None:
    inbox = start_inbox(over_tls=server_tls) if scheme == "smtps" else start_inbox(tls_context=server_tls)
    with pytest.raises(MailDeferred, match="certificate cannot be verified") as deferred:
        sender(f"{scheme}://{LOGIN}localhost:{inbox.port}").send(MAIL)
    assert_tells_nothing(deferred.value)
    assert inbox.messages == []


def test_a_certificate_for_another_host_is_not_trusted(
    start_inbox: StartInbox,
    sender: Callable[..., SmtpSender],
    server_tls: Any,
    trusted: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **options: look_up("127.0.0.1", *rest, **options))
    inbox = start_inbox(over_tls=server_tls)
    with pytest.raises(MailDeferred, match="certificate cannot be verified"):
        sender(f"smtps://mail.example.com:{inbox.port}").send(MAIL)


def test_a_server_that_offers_no_starttls_gets_neither_password_nor_mail(
    start_inbox: StartInbox, sender: Callable[..., SmtpSender]
) -> None:
    inbox = start_inbox()
    with pytest.raises(MailDeferred, match="does not offer the encryption or login"):
        sender(f"smtp+starttls://{LOGIN}127.0.0.1:{inbox.port}").send(MAIL)
    assert inbox.messages == []


def test_a_server_that_speaks_plainly_where_tls_is_set_defers(
    start_inbox: StartInbox, sender: Callable[..., SmtpSender]
) -> None:
    inbox = start_inbox()
    with pytest.raises(MailDeferred):
        sender(f"smtps://127.0.0.1:{inbox.port}", patience=PATIENCE).send(MAIL)
    assert inbox.messages == []


def test_user_and_password_are_decoded_and_let_us_in(
    start_inbox: StartInbox, sender: Callable[..., SmtpSender], server_tls: Any, trusted: None, only_ada: Any
) -> None:
    inbox = start_inbox(tls_context=server_tls, authenticator=only_ada, auth_required=True)
    sender(f"smtp+starttls://{LOGIN}localhost:{inbox.port}").send(MAIL)
    assert len(inbox.messages) == 1


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_a_login_refused_defers_because_it_is_no_fault_of_the_customers(
    start_inbox: StartInbox, sender: Callable[..., SmtpSender], only_ada: Any
) -> None:
    inbox = start_inbox(authenticator=only_ada, auth_required=True, auth_require_tls=False)
    with pytest.raises(MailDeferred, match="did not accept the user and password") as deferred:
        sender(f"smtp://ada:p%40ss@127.0.0.1:{inbox.port}").send(MAIL)
    assert_tells_nothing(deferred.value)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_a_server_that_wants_a_login_we_do_not_have_refuses_the_sender(
    start_inbox: StartInbox, sender: Callable[..., SmtpSender], only_ada: Any
) -> None:
    inbox = start_inbox(authenticator=only_ada, auth_required=True, auth_require_tls=False)
    with pytest.raises(MailRefused, match=r"the sender: 530 5\.7\.0$"):
        sender(f"smtp://127.0.0.1:{inbox.port}").send(MAIL)


def test_an_address_beyond_ascii_goes_to_servers_that_can(
    start_inbox: StartInbox, sender: Callable[..., SmtpSender]
) -> None:
    mail = Mail(to="jürgen@example.net", subject="Hello", text="x", html="<p>x</p>", message_id="0f4c8b")
    able, unable = start_inbox(enable_SMTPUTF8=True), start_inbox()
    sender(f"smtp://127.0.0.1:{able.port}").send(mail)
    assert able.envelopes[0].rcpt_tos == ["jürgen@example.net"]
    with pytest.raises(MailRefused) as refused:
        sender(f"smtp://127.0.0.1:{unable.port}").send(mail)
    assert refused.value.stage == "recipient"


def hangs_before_the_greeting(line: Any) -> None:
    line.wait_for_the_end()


def hangs_after_the_greeting(line: Any) -> None:
    line.say("220 here")
    line.wait_for_the_end()


def drips_its_greeting(line: Any) -> None:
    while True:
        line.say("220-one moment")
        time.sleep(0.05)


def drips_one_reply_letter_by_letter(line: Any) -> None:
    line.say("220 here")
    while True:
        line.say_raw(b"2")
        time.sleep(0.05)


def hangs_at_the_go_ahead(line: Any) -> None:
    line.say("220 here")
    for _ in range(3):
        line.hear()
        line.say("250 OK")
    line.wait_for_the_end()


def stops_reading_in_the_middle_of_the_message(line: Any) -> None:
    line.greet_until_data()
    line.read_nothing_more()


def never_says_whether_it_took_the_message(line: Any) -> None:
    line.greet_until_data()
    line.take_message()
    line.wait_for_the_end()


def drips_whether_it_took_the_message(line: Any) -> None:
    line.greet_until_data()
    line.take_message()
    while True:
        line.say("250-nearly")
        time.sleep(0.05)


@pytest.mark.parametrize(
    "behaviour",
    [
        hangs_before_the_greeting,
        hangs_after_the_greeting,
        drips_its_greeting,
        drips_one_reply_letter_by_letter,
        hangs_at_the_go_ahead,
        stops_reading_in_the_middle_of_the_message,
        never_says_whether_it_took_the_message,
        drips_whether_it_took_the_message,
    ],
)
def test_our_own_time_out_holds_against_a_server_that(
    server_that: ServerThat, sender: Callable[..., SmtpSender], behaviour: Callable[[Any], None]
) -> None:
    long_mail = Mail(
        to=MAIL.to, subject=MAIL.subject, text=("x" * 70 + "\n") * 60_000, html=MAIL.html, message_id=MAIL.message_id
    )
    mail = long_mail if behaviour is stops_reading_in_the_middle_of_the_message else MAIL
    with server_that(behaviour) as port:
        began = time.monotonic()
        with pytest.raises(MailDeferred) as deferred:
            sender(f"smtp://127.0.0.1:{port}", patience=PATIENCE).send(mail)
        assert time.monotonic() - began < AT_MOST
    assert_tells_nothing(deferred.value)


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
def test_our_own_time_out_holds_inside_tls(
    server_that: ServerThat, sender: Callable[..., SmtpSender], server_tls: Any, trusted: None, scheme: str
) -> None:
    def drips_inside_tls(line: Any) -> None:
        if scheme == "smtp+starttls":
            line.greet_until_starttls()
        line.encrypt(server_tls)
        drips_its_greeting(line)

    with server_that(drips_inside_tls) as port:
        began = time.monotonic()
        with pytest.raises(MailDeferred):
            sender(f"{scheme}://localhost:{port}", patience=PATIENCE * 2).send(MAIL)
        assert time.monotonic() - began < AT_MOST


def test_our_own_time_out_holds_when_it_comes_in_the_middle_of_starttls(
    server_that: ServerThat, sender: Callable[..., SmtpSender], server_tls: Any, trusted: None
) -> None:
    def shakes_hands_slowly_then_drips(line: Any) -> None:
        time.sleep(0.4)
        line.greet_until_starttls()
        time.sleep(0.4)
        line.encrypt(server_tls)
        drips_its_greeting(line)

    with server_that(shakes_hands_slowly_then_drips) as port:
        began = time.monotonic()
        with pytest.raises(MailDeferred):
            sender(f"smtp+starttls://localhost:{port}", patience=0.6).send(MAIL)
        assert time.monotonic() - began < AT_MOST


def test_our_own_time_out_holds_in_the_middle_of_a_handshake(
    server_that: ServerThat, sender: Callable[..., SmtpSender]
) -> None:
    with server_that(hangs_before_the_greeting) as port:
        began = time.monotonic()
        with pytest.raises(MailDeferred):
            sender(f"smtps://127.0.0.1:{port}", patience=PATIENCE).send(MAIL)
        assert time.monotonic() - began < AT_MOST


@pytest.mark.parametrize("greeting", ["554 no mail from ada@example.com", "421 not now, grace", "hello", "\x00\xff"])
def test_a_greeting_that_is_no_welcome_defers(
    server_that: ServerThat, sender: Callable[..., SmtpSender], greeting: str
) -> None:
    with server_that(lambda line: line.say(greeting)) as port, pytest.raises(MailDeferred) as deferred:
        sender(f"smtp://127.0.0.1:{port}").send(MAIL)
    assert_tells_nothing(deferred.value)


@pytest.mark.parametrize("after", ["the go-ahead", "the message"])
def test_a_connection_lost_around_the_message_defers_because_nobody_knows(
    server_that: ServerThat, sender: Callable[..., SmtpSender], after: str
) -> None:
    def hangs_up(line: Any) -> None:
        line.greet_until_data()
        if after == "the message":
            line.take_message()

    with server_that(hangs_up) as port, pytest.raises(MailDeferred, match="hung up"):
        sender(f"smtp://127.0.0.1:{port}").send(MAIL)


@pytest.mark.parametrize("hangs", [True, False])
def test_a_mail_the_server_took_is_sent_even_if_the_goodbye_hangs_or_breaks(
    server_that: ServerThat, sender: Callable[..., SmtpSender], hangs: bool
) -> None:
    taken: list[str] = []

    def takes_it(line: Any) -> None:
        line.greet_until_data()
        line.take_message()
        line.say("250 taken")
        taken.append(line.hear().upper())
        if hangs:
            line.wait_for_the_end()

    with server_that(takes_it) as port:
        began = time.monotonic()
        sender(f"smtp://127.0.0.1:{port}", patience=0.6).send(MAIL)
        assert time.monotonic() - began < AT_MOST
    assert taken == ["QUIT"]


def test_no_watch_is_left_behind_once_the_mail_is_sent(
    start_inbox: StartInbox, sender: Callable[..., SmtpSender]
) -> None:
    inbox = start_inbox()
    before = threading.active_count()
    for _ in range(5):
        sender(f"smtp://127.0.0.1:{inbox.port}", patience=60).send(MAIL)
    deadline = time.monotonic() + AT_MOST
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before

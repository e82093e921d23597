"""Handing a mail to an SMTP server."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import threading
from contextlib import closing, suppress
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from tollkeeper.clock import Clock
from tollkeeper.domain.customer import validate_email
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.mail.errors import MailDeferred, MailRefused, Stage
from tollkeeper.mail.message import Mail

_DEFAULT_PORTS = {"smtp": 25, "smtps": 465, "smtp+starttls": 587}
# Not every server takes eight bits.
_POLICY = SMTP.clone(cte_type="7bit")
_ENHANCED_STATUS = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}\b")

# The first that fits is said; SMTPException is itself an OSError, so the order matters.
_CONNECTION_TROUBLE: list[tuple[type[OSError], str]] = [
    (smtplib.SMTPAuthenticationError, "the mail server did not accept the user and password"),
    (smtplib.SMTPNotSupportedError, "the mail server does not offer the encryption or login that is set"),
    (smtplib.SMTPServerDisconnected, "the mail server hung up or did not answer in time"),
    (smtplib.SMTPException, "the mail server gave no answer to work with"),
    (ssl.SSLCertVerificationError, "the mail server's certificate cannot be verified"),
    (ssl.SSLError, "no encrypted connection to the mail server"),
    (TimeoutError, "the mail server did not answer in time"),
    (OSError, "the mail server cannot be reached"),
]


class SmtpSender:
    """Sends mail through one server, one connection per mail.

    `url` is `smtp://` (port 25, never encrypted), `smtps://` (465, encrypted from the first byte) or `smtp+starttls://`
    (587, refuses to go on without encryption), with `user:password@` percent-encoded where the server wants a login.
    Certificates are verified against the system's store; `SSL_CERT_FILE` in the environment names another one.
    `mail_from` is one address in ASCII, with or without a name. Raises `InvalidInput` if either is unusable.
    """

    def __init__(self, url: str, mail_from: str, *, clock: Clock, timeout_seconds: float = 10) -> None:
        self._server = _Server.parse(url)
        self._mail_from = _one_address(mail_from)
        self._clock = clock
        self._timeout_seconds = timeout_seconds

    def send(self, mail: Mail) -> None:
        """Return once the server has taken the mail.

        The whole conversation may last `timeout_seconds`; connecting may take that long for each address of the host.
        Raises `MailRefused` (the server said never) or `MailDeferred` (anything else). What goes wrong before the mail
        itself is on the table (no connection, bad certificate, login refused) is always deferred, even where the server
        calls it permanent: it is the operator's to mend, and no reason to drop every customer's mail meanwhile.
        """
        message = self._compose(mail)
        with closing(self._connect()) as session:
            self._hand_over(session, message, mail.to)
            # The mail is theirs now: a failed goodbye must not make it look unsent.
            with suppress(OSError):
                session.quit()

    def _compose(self, mail: Mail) -> EmailMessage:
        message = EmailMessage(policy=_POLICY)
        message["From"] = (self._mail_from,)
        message["To"] = mail.to
        message["Subject"] = mail.subject
        message["Date"] = self._clock.now()
        message["Message-ID"] = f"<{mail.message_id}@{self._mail_from.domain}>"
        # RFC 3834: no holiday reply wanted.
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(mail.text)
        message.add_alternative(mail.html, subtype="html")
        return message

    def _connect(self) -> smtplib.SMTP:
        try:
            return self._server.open_session(self._mail_from.domain, self._timeout_seconds)
        except OSError as error:
            # The cause is cut off here and below: it quotes the server, and the server quotes addresses.
            raise MailDeferred(_trouble(error)) from None

    def _hand_over(self, session: smtplib.SMTP, message: EmailMessage, to: str) -> None:
        beyond_ascii = not to.isascii()
        # Not send_message: it writes ">From" where a line of the text begins with "From".
        content = message.as_bytes(policy=_POLICY.clone(utf8=beyond_ascii))
        try:
            session.sendmail(self._mail_from.addr_spec, [to], content, ["SMTPUTF8"] if beyond_ascii else [])
        except smtplib.SMTPRecipientsRefused as error:
            [(code, reply)] = error.recipients.values()
            raise _answered("recipient", code, reply) from None
        except smtplib.SMTPSenderRefused as error:
            raise _answered("sender", error.smtp_code, error.smtp_error) from None
        except smtplib.SMTPDataError as error:
            raise _answered("message", error.smtp_code, error.smtp_error) from None
        except smtplib.SMTPNotSupportedError:
            raise MailRefused("recipient", "it takes ASCII addresses only") from None
        except OSError as error:
            raise MailDeferred(_trouble(error)) from None


@dataclass(frozen=True)
class _Server:
    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> _Server:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise _invalid_url() from None
        server = cls(
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=port or _DEFAULT_PORTS.get(parts.scheme, 0),
            user=_decoded(parts.username),
            password=_decoded(parts.password),
        )
        superfluous = parts.path not in ("", "/") or parts.query or parts.fragment
        half_a_login = (server.user is None) != (server.password is None)
        if server.scheme not in _DEFAULT_PORTS or not server.host or superfluous or half_a_login:
            raise _invalid_url()
        return server

    def open_session(self, own_name: str, timeout_seconds: float) -> smtplib.SMTP:
        tls = ssl.create_default_context()
        session: smtplib.SMTP
        if self.scheme == "smtps":
            session = _PunctualOverTls(self.host, self.port, own_name, timeout=timeout_seconds, context=tls)
        else:
            session = _Punctual(self.host, self.port, own_name, timeout=timeout_seconds)
        try:
            if self.scheme == "smtp+starttls":
                session.starttls(context=tls)
            session.ehlo_or_helo_if_needed()
            if self.user is not None and self.password is not None:
                session.login(self.user, self.password)
        except BaseException:
            session.close()
            raise
        return session


class _Punctual(smtplib.SMTP):
    """A session that hangs up when it has lasted `timeout` seconds in all.

    The library's own time-out starts again with every byte that arrives, so a server that drips its replies could hold
    a worker for hours.
    """

    def __init__(self, host: str, port: int, own_name: str, *, timeout: float, **tls: Any) -> None:
        self._ending = threading.Condition()
        self._ended = False
        threading.Thread(target=self._hang_up_when_late, args=(timeout,), daemon=True).start()
        try:
            super().__init__(host, port, own_name, timeout=timeout, **tls)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        with self._ending:
            self._ended = True
            self._ending.notify()
            super().close()

    def _hang_up_when_late(self, patience: float) -> None:
        # Held while hanging up, so that the socket's number cannot meanwhile become another connection's.
        with self._ending:
            while not self._ending.wait_for(lambda: self._ended, patience):
                # Again and again: in the middle of STARTTLS the socket is exchanged for another one.
                patience = 0.1
                if sock := self.sock:
                    with suppress(OSError):
                        # Not the TLS socket's own method, which would pull its state from under the thread that reads.
                        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _PunctualOverTls(_Punctual, smtplib.SMTP_SSL):
    """The same, encrypted from the first byte."""


def _answered(stage: Stage, code: int, reply: bytes | str) -> MailRefused | MailDeferred:
    status = _ENHANCED_STATUS.match(reply if isinstance(reply, bytes) else reply.encode())
    numbers = f"{code} {status.group().decode()}" if status else str(code)
    if 500 <= code <= 599:
        return MailRefused(stage, numbers)
    return MailDeferred(f"the mail server put the {stage} off: {numbers}")


def _trouble(error: OSError) -> str:
    return next(sentence for kind, sentence in _CONNECTION_TROUBLE if isinstance(error, kind))


def _one_address(mail_from: str) -> Address:
    try:
        header = EmailMessage(policy=_POLICY)
        header["From"] = mail_from
        [address] = header["From"].addresses
        validate_email(address.addr_spec)
        if not (mail_from.isprintable() and address.addr_spec.isascii()):
            raise ValueError
    except (ValueError, InvalidInput):
        raise InvalidInput("TOLLKEEPER_MAIL_FROM", "one mail address in ASCII, with or without a name") from None
    return cast(Address, address)


def _decoded(part: str | None) -> str | None:
    if part is None:
        return None
    decoded = unquote(part)
    # The login of smtplib speaks ASCII only, and a control character has no place in either.
    if not (decoded.isascii() and decoded.isprintable()):
        raise _invalid_url()
    return decoded


def _invalid_url() -> InvalidInput:
    return InvalidInput("TOLLKEEPER_SMTP_URL", "smtp://, smtps:// or smtp+starttls://[user:password@]host[:port]")

"""One POST to somebody else's server: to the address that was looked at, for a bounded time, whatever that server does."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from integration.mail.conftest import CERTIFICATE
from integration.notices.conftest import Receiver
from tollkeeper.notify.addresses import AddressForbidden, look_up
from tollkeeper.notify.post import MAX_ANSWER, NoAnswer, Poster

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def server_that(behaves: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that takes connections one after another and treats each as told; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with suppress(OSError):
                    connection.settimeout(20)
                    if tls is not None:
                        connection = tls.wrap_socket(connection, server_side=True)
                    behaves(connection)
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(30)
        assert not thread.is_alive()


def hears(connection: socket.socket) -> bytes:
    heard = b""
    while b"{}" not in heard:
        heard += connection.recv(65536)
    return heard


def post(port: int, *, seconds: float = 0.5, name: str = "127.0.0.1", scheme: str = "http", **more: object) -> object:
    poster = Poster(allow_loopback=True, timeout_seconds=seconds, **more)  # type: ignore[arg-type] # each test gives what fits
    return poster.post(f"{scheme}://{name}:{port}/in", b"{}", {})


def drips(connection: socket.socket) -> None:
    hears(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-More: 1\r\n")
        time.sleep(0.02)


def goes_on(connection: socket.socket) -> None:
    hears(connection)
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.02)


def says_nothing(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


@pytest.mark.parametrize("behaves", [goes_on, says_nothing])
def test_a_server_that_takes_its_time_is_left_when_ours_is_over(behaves: Callable[[socket.socket], None]) -> None:
    with server_that(behaves) as port:
        began = time.monotonic()
        with pytest.raises(NoAnswer, match="no answer"):
            post(port)
        assert time.monotonic() - began < 10


def test_a_status_is_an_answer_also_where_the_rest_of_it_drips_in() -> None:
    with server_that(drips) as port:
        began = time.monotonic()
        assert post(port).status == 200  # type: ignore[attr-defined]
        assert time.monotonic() - began < 10


def test_a_server_that_shakes_hands_for_ever_is_left_too() -> None:
    with server_that(says_nothing) as port, pytest.raises(NoAnswer):
        post(port, scheme="https")


def test_of_an_answer_without_end_only_its_beginning_is_read() -> None:
    def pours(connection: socket.socket) -> None:
        hears(connection)
        connection.sendall(b"HTTP/1.1 500 Oh\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with server_that(pours) as port:
        answer = post(port, seconds=20)
    assert (answer.status, len(answer.text)) == (500, MAX_ANSWER)  # type: ignore[attr-defined]


def test_the_address_that_was_looked_at_is_called_and_the_name_is_asked_only_once() -> None:
    heard: list[bytes] = []

    def listens(connection: socket.socket) -> None:
        heard.append(hears(connection))
        connection.sendall(OK)

    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        """Gives this machine first, and would give a wrong one to whoever asks again."""
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["203.0.113.1"]

    with server_that(listens) as port:
        answer = post(port, seconds=20, name="hooks.example", resolve=resolve)
        assert f"Host: hooks.example:{port}".encode() in heard[0]
    assert answer.status == 200  # type: ignore[attr-defined]
    assert asked == ["hooks.example"]


def test_a_name_that_leads_inside_is_never_connected_to() -> None:
    connected: list[socket.socket] = []
    with server_that(connected.append) as port:
        for poster in (
            Poster(resolve=lambda host, _: ["127.0.0.1"]),
            Poster(resolve=lambda host, _: ["10.0.0.1"], allow_loopback=True),
            Poster(resolve=lambda host, _: ["169.254.169.254"], allow_loopback=True),
        ):
            with pytest.raises(AddressForbidden):
                poster.post(f"https://hooks.example:{port}/", b"{}", {})
    assert connected == []


def test_a_certificate_of_another_name_is_not_taken() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))

    def answers(connection: socket.socket) -> None:
        hears(connection)
        connection.sendall(OK)

    with server_that(answers, context) as port:
        here = {"seconds": 20, "scheme": "https", "resolve": lambda host, _: ["127.0.0.1"], "tls": trusting}
        assert post(port, name="localhost", **here).status == 200  # type: ignore[arg-type, attr-defined]
        with pytest.raises(NoAnswer, match="certificate"):
            post(port, name="hooks.example", **here)  # type: ignore[arg-type]


def test_a_redirect_is_an_answer_and_is_not_followed(start_receiver: Callable[..., Receiver]) -> None:
    first, second = start_receiver(), start_receiver()
    first.always = (307, "", {"Location": second.url})
    assert Poster(allow_loopback=True).post(f"{first.url}/in", b"{}", {}).status == 307
    assert second.calls == []


def test_what_answers_no_http_is_no_answer() -> None:
    def talks(connection: socket.socket) -> None:
        hears(connection)
        connection.sendall(b"220 mail.example ESMTP\r\n")

    with server_that(talks) as port, pytest.raises(NoAnswer, match="no answer that is one"):
        post(port, seconds=20)


def test_a_name_is_looked_up_once_for_each_address_and_an_unknown_one_has_none() -> None:
    assert "127.0.0.1" in look_up("localhost", 80)
    assert look_up("no-such-name.invalid", 80) == []
    assert look_up("." * 300, 80) == []

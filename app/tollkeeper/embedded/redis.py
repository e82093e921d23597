"""Redis out of a wheel, or the machine's own."""

from __future__ import annotations

import secrets
import signal
import socket
from pathlib import Path

from tollkeeper.embedded.programs import redis_program, within_reach
from tollkeeper.embedded.server import EmbeddedServer


class EmbeddedRedis(EmbeddedServer):
    """Redis on a loopback port, with a password.

    Without `keep` nothing is written to disk, so a restarted server is empty; with it every change is.
    """

    name = "Redis"
    _orderly = signal.SIGTERM
    _hasty = signal.SIGTERM

    def __init__(self, *, keep: Path | None = None) -> None:
        super().__init__(keep=keep)
        self._program = Path()
        self._settings = Path()
        self._password = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        self._kept  # noqa: B018 # refuses while there is no server
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    def _prepare(self) -> None:
        self._program = within_reach(redis_program(), self._account, self._kept.folder / "programs")
        self._make_folder(self._data)
        # In a file, because every account of the machine can read a command line.
        self._settings = self._write_secret(self._kept.folder / "settings", f"requirepass {self._password}\n")

    def _command(self) -> list[str]:
        return [
            *(str(self._program), str(self._settings), "--bind", "127.0.0.1", "--port", str(self._port)),
            *("--dir", str(self._data), "--save", "", "--appendonly", "yes" if self._keep else "no"),
        ]

    def _answers(self) -> bool:
        # Another server on this port would not know the password; one that is still loading its data does not say PONG.
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answers:
                    return [answers.readline(), answers.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        except OSError:
            return False

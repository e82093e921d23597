"""PostgreSQL out of a wheel."""

from __future__ import annotations

import contextlib
import ctypes
import secrets
import shutil
import signal
import sys
from pathlib import Path

from tollkeeper.embedded.errors import ServerFailed
from tollkeeper.embedded.programs import postgres_program, within_reach
from tollkeeper.embedded.server import EmbeddedServer

_USER = "tollkeeper"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Files below the data folder: containers have little of /dev/shm, and nothing is left there after a kill.
    "dynamic_shared_memory_type": "mmap",
}
_IN_MEMORY = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "256MB"}
_IPC_RMID = 0


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL on a loopback port: UTF-8, UTC, 200 connections, durable commits.

    With `fsync` false it survives `kill` but no power cut, and its data are in memory where the machine has room there: on
    some disks that makes a fresh database a test fifteen times quicker.

    It asks for a password, since whoever connects may run programs as the server's account, and loopback is open to
    every account of the machine.
    """

    name = "PostgreSQL"
    _orderly = signal.SIGINT
    _hasty = signal.SIGQUIT

    def __init__(self, *, keep: Path | None = None, fsync: bool = True) -> None:
        super().__init__(keep=keep, in_memory=not fsync)
        self._fsync = fsync
        self._program = Path()
        self._password = ""

    @property
    def url(self) -> str:
        self._kept  # noqa: B018 # refuses while there is no server
        return f"postgresql://{_USER}:{self._password}@127.0.0.1:{self._port}/postgres"

    def kill(self) -> None:
        super().kill()
        self._free_shared_memory()

    def _prepare(self) -> None:
        self._program = within_reach(postgres_program(), self._account, self._kept.folder / "programs")
        known = self._root / "password"
        if self._data.exists():
            self._password = known.read_text(encoding="ascii")
            return
        self._password = secrets.token_urlsafe(24)
        known.touch(mode=0o600)
        known.write_text(self._password, encoding="ascii")
        self._initialise()

    def _initialise(self) -> None:
        # Under another name until it is whole: a start that was cut short is begun anew.
        unfinished = self._root / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._make_folder(unfinished)
        secret = self._write_secret(self._kept.folder / "secret", self._password)
        command = [
            *(str(self._program.with_name("initdb")), "--pgdata", str(unfinished), "--no-instructions"),
            *("--username", _USER, "--pwfile", str(secret), "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            # Stretching helps short passwords; this one is 192 random bits, and every connection would pay for it.
            *("--set", "scram_iterations=1"),
            *(() if self._keep and self._fsync else ("--no-sync",)),
        ]
        if self._kept.run(command) != 0:
            raise ServerFailed(self.name, self._complaint())
        unfinished.rename(self._data)

    def _command(self) -> list[str]:
        settings = _SETTINGS | ({} if self._fsync else _IN_MEMORY) | {"port": str(self._port)}
        flags = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [str(self._program), "-D", str(self._data), *flags]

    def _answers(self) -> bool:
        # The server writes its process id first and "ready" into the eighth line; a killed one's file has another id.
        lines = self._lock_file()
        return len(lines) > 7 and lines[0] == str(self._pid) and lines[7].strip() == "ready"

    def _free_shared_memory(self) -> None:
        """Gives back the few bytes that a killed server leaves with the kernel; the seventh line holds their id."""
        lines = self._lock_file()
        if sys.platform == "linux" and len(lines) > 6 and (numbers := lines[6].split()):
            ctypes.CDLL(None).shmctl(int(numbers[-1]), _IPC_RMID, None)

    def _lock_file(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        return []

"""What the embedded servers have in common: how they start, stop, stall, die and come back."""

from __future__ import annotations

import re
import signal
import socket
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tollkeeper.embedded.account import Account, serving_account
from tollkeeper.embedded.errors import ServerFailed
from tollkeeper.embedded.keeping import Keeping

_PORTS_TRIED = 5
_PATIENCE = 60.0
_COMPLAINT = re.compile(r"\b(fatal|panic|error|can't|could not|failed)\b", re.IGNORECASE)


class EmbeddedServer(ABC):
    """A server of our own on a loopback port, gone when this process is, whatever happens to it.

    With `keep` its data live in that folder and are there again at the next start; without, they go when it stops. A
    fork of this process does not hold the server up, and a process that daemonises itself must start it afterwards.
    """

    name: ClassVar[str]
    _orderly: ClassVar[signal.Signals]
    _hasty: ClassVar[signal.Signals]

    def __init__(self, *, keep: Path | None = None, in_memory: bool = False) -> None:
        self._in_memory = in_memory
        self._keep = keep.absolute() if keep else None
        self._account: Account | None = None
        self._keeping: Keeping | None = None
        self._port = 0
        self._pid = 0

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the server is, with user and password."""

    @property
    def log(self) -> Path:
        """What the server has written; gone with it."""
        return self._kept.folder / "log"

    def start(self) -> Self:
        """Starts the server on a free port and returns once it answers; `ServerFailed` gives its own last complaint."""
        self._account = serving_account(self._data if self._keep else None)
        farewell = self._orderly if self._keep else self._hasty
        self._keeping = Keeping(self.name, self._account, farewell, self._in_memory)
        try:
            self._open_root()
            self._prepare()
            self._serve_on_a_free_port()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends the server, and removes all there was of it but a kept folder. Stopping twice is once."""
        if self._keeping is not None:
            self._keeping.close()
            self._keeping = None

    def restart(self) -> None:
        """Ends the server in good order, where it is still up, and starts it on the same port with the same data."""
        self._kept.end(self._orderly)
        if not self._serve():
            raise ServerFailed(self.name, self._complaint())

    def kill(self) -> None:
        """Ends every process of the server at once, as a power cut would; `restart` brings it back."""
        self._kept.end(signal.SIGKILL)

    def pause(self) -> None:
        """Stalls the server: connections stand, new ones are taken by the kernel, nothing is answered."""
        self._kept.pause()

    def resume(self) -> None:
        """Undoes `pause`."""
        self._kept.resume()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _kept(self) -> Keeping:
        if self._keeping is None:
            raise ServerFailed(self.name, "not started")
        return self._keeping

    @property
    def _root(self) -> Path:
        return self._keep or self._kept.folder

    @property
    def _data(self) -> Path:
        return self._root / "data"

    @abstractmethod
    def _prepare(self) -> None:
        """Makes what the server needs before its first start."""

    @abstractmethod
    def _command(self) -> list[str]:
        """What starts the server in the foreground."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server that we started, and no other, takes connections."""

    def _serve_on_a_free_port(self) -> None:
        # Between finding a free port and using it, another process may take it.
        for _ in range(_PORTS_TRIED):
            self._port = _free_port()
            if self._serve():
                return
        raise ServerFailed(self.name, self._complaint())

    def _serve(self) -> bool:
        """Starts the server and waits until it answers; false when it ended instead."""
        self._pid = self._kept.serve(self._command())
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if self._answers():
                return True
            if not self._kept.alive():
                return False
            time.sleep(0.005)
        raise ServerFailed(self.name, f"no answer within {_PATIENCE:.0f} seconds; {self._complaint()}")

    def _open_root(self) -> None:
        """Makes the folder to keep data in, where there is one; it stays ours, the account may only pass it."""
        ours = [folder for folder in (self._root, *self._root.parents) if not folder.exists()]
        self._root.mkdir(parents=True, exist_ok=True)
        for folder in ours:
            folder.chmod(0o711 if self._account else 0o700)
        if self._account and not self._account.passes(self._root):
            raise ServerFailed(self.name, f"does not run as root, and {self._root} is closed to other accounts")

    def _make_folder(self, folder: Path) -> Path:
        """A folder that the server's account owns."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._account:
            self._account.own(folder)
        return folder

    def _write_secret(self, path: Path, text: str) -> Path:
        """A file that the server's account alone can read."""
        path.touch(mode=0o600)
        path.write_text(text, encoding="ascii")
        if self._account:
            self._account.own(path)
        return path

    def _complaint(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        complaints = [line for line in lines if _COMPLAINT.search(line)] or lines or ["ended without a word"]
        return complaints[-1].strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

"""The process between us and a server, there so that the server never outlives us.

No handler inside a process can promise that: `kill -9` and `os._exit` run none, and a second SIGTERM interrupts the
first. So a server is the child of this small program, which holds the reading end of a pipe. When the pipe ends, or the
process at its other end (the owner) is gone, it ends the server with all its children, removes the folder and leaves.
Should the keeper itself be killed, Linux signals the server in its place.

It runs as a script and imports nothing of this package, so that it is there in a few hundredths of a second. It reads
one order a line from standard input and answers each with one line, both JSON; its first line tells the folder that it
made.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped] # ships no types

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_AFTER_OWNER = 0.5
_GRACE = 10.0


class Keeper:
    """One folder, and at most one server at a time; its public methods are the orders."""

    def __init__(self, owner: int, parent: str, account: tuple[int, int] | None, farewell: int) -> None:
        self._owner = owner
        self._account = account
        self._farewell = farewell
        self._server: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="tollkeeper-", dir=parent))
        # Ours stays ours, so that the other account cannot plant a link where we are about to write; it may only pass.
        self.folder.chmod(0o711 if account else 0o700)
        self._log = (self.folder / "log").open("ab")

    def run(self, command: list[str]) -> int:
        """Runs a program to its end; its exit status."""
        return self._spawn(command).wait()

    def serve(self, command: list[str]) -> int:
        """Starts the server; its process id."""
        self._server = self._spawn(command)
        return self._server.pid

    def alive(self) -> bool:
        """Whether the server is running."""
        self._reap()
        return self._server is not None and self._server.returncode is None

    def pause(self) -> None:
        """Stops the server and all its children where they stand; they keep their connections and answer nothing."""
        # Parents come before their children, so nothing can be born behind our back.
        if self._server is not None and self.alive():
            self._server.send_signal(signal.SIGSTOP)
        _tell(_family(), signal.SIGSTOP)

    def resume(self) -> None:
        """Undoes `pause`."""
        _tell(_family(), signal.SIGCONT)

    def end(self, farewell: int) -> None:
        """Ends the server with that signal (SIGKILL: all of it at once); whoever is left after the grace is killed."""
        if farewell == signal.SIGKILL:
            self.pause()
        else:
            self.resume()
            if self._server is not None and self.alive():
                self._server.send_signal(farewell)
            self._wait_for(_family(), _GRACE)
        _tell(_family(), signal.SIGKILL)
        self._wait_for(_family(), _GRACE)
        self._server = None

    def attend(self) -> None:
        """Obeys orders until there is nobody to give any, then leaves nothing behind."""
        try:
            _say(str(self.folder))
            for order in self._orders():
                _say(self._obey(order))
        finally:
            self.end(self._farewell)
            self._log.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _obey(self, order: dict[str, Any]) -> dict[str, Any]:
        method: Callable[..., Any] = getattr(self, order["do"])
        try:
            return {"answer": method(*order["with"])}
        except OSError as error:
            return {"error": str(error)}

    def _orders(self) -> Iterator[dict[str, Any]]:
        # The owner waits for each answer before it speaks again, so no second line can hide in the buffer behind
        # `select`. A fork of the owner may hold the pipe open for ever, hence the look at who our parent is.
        while os.getppid() == self._owner:
            readable, _, _ = select.select([sys.stdin], [], [], _LOOK_AFTER_OWNER)
            if readable:
                line = sys.stdin.readline()
                if not line:
                    return
                yield json.loads(line)

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        uid, gid = self._account or (None, None)
        return subprocess.Popen(  # noqa: S603 # the owner's own command
            command,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
            cwd="/",
            # Nothing of the user's own PG… variables, locale or time zone.
            env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            # After the change of account, which clears it. We have one thread, so running Python there is safe.
            preexec_fn=functools.partial(_prctl, _PR_SET_PDEATHSIG, self._farewell),
        )

    def _reap(self) -> None:
        # Children of a server that was killed become ours, so every child is waited for, not the server alone.
        with contextlib.suppress(ChildProcessError):
            while (reaped := os.waitpid(-1, os.WNOHANG))[0]:
                if self._server is not None and reaped[0] == self._server.pid:
                    self._server.returncode = os.waitstatus_to_exitcode(reaped[1])

    def _wait_for(self, family: list[Any], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._reap()
            if not any(process.is_running() for process in family):
                return
            time.sleep(0.005)


def _family() -> list[Any]:
    return list(psutil.Process().children(recursive=True))


def _tell(family: list[Any], what: int) -> None:
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(what)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _LIBC.prctl(option, value, 0, 0, 0)


def _say(what: object) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(what), flush=True)  # noqa: T201 # this is the answer to the owner


def _main() -> None:
    # Our life hangs on the owner alone. A handler that does nothing is not passed on to the server, "ignore" would be.
    for interruption in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(interruption, lambda *_: None)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    Keeper(**json.loads(sys.argv[1])).attend()


_LIBC = ctypes.CDLL(None)

if __name__ == "__main__":
    _main()

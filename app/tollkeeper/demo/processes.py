"""The processes of a tollkeeper installation: web, worker and beat, each with a log, ended together."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tollkeeper.domain.errors import TollkeeperError

STOP_SECONDS = 10
_PR_SET_PDEATHSIG = 1
_OURS = re.compile("TOLLKEEPER_|STRIPE_|PAYSTACK_|DATABASE_URL$|REDIS_URL$")
_LIBC = ctypes.CDLL(None)


class ProcessFailed(TollkeeperError):
    """A process ended, or did not do in time what it was started for."""


class Processes:
    """Child processes that share an environment. They end with the context, and with this process if that is killed."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *, settings_too: bool = True) -> None:
        """`settings_too`: settings of ours that this process was started with are theirs as well."""
        self._folder = folder
        inherited = {name: value for name, value in os.environ.items() if settings_too or not _OURS.match(name)}
        self._environment = {**inherited, **environment, "PYTHONUNBUFFERED": "1"}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, arguments: Sequence[str]) -> None:
        """Start `python -m …` under a name; its output goes to `NAME.log`."""
        with (self._folder / f"{name}.log").open("ab") as log:
            self._spawn(name, arguments, log.fileno())

    def follow(self, name: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start `python -m …` under a name; its output can be read from the process that comes back."""
        return self._spawn(name, arguments, subprocess.PIPE)

    def ended(self) -> str | None:
        """The name of a process that ended by itself, if one did."""
        return next((name for name, process in self._running.items() if process.poll() is not None), None)

    def _spawn(self, name: str, arguments: Sequence[str], output: int) -> subprocess.Popen[bytes]:
        self._running[name] = subprocess.Popen(  # noqa: S603 # our own modules with our own arguments
            [sys.executable, "-m", *arguments],
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
        return self._running[name]

    def run(self, arguments: Sequence[str], *, allowed: Sequence[int] = (0,)) -> str:
        """Run `python -m …` to its end; its standard output."""
        done = subprocess.run(  # noqa: S603 # our own modules with our own arguments
            [sys.executable, "-m", *arguments],
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in allowed:
            raise ProcessFailed(f"{' '.join(arguments)} exited {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def stop(self, name: str) -> None:
        """End one process in good order."""
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def wait_until(self, what: str, done: Callable[[], bool], seconds: float) -> None:
        """Return once `done()` is true; `ProcessFailed` with the last lines of the logs where that takes too long."""
        end = time.monotonic() + seconds
        while not done():
            for name, process in self._running.items():
                if process.poll() is not None:
                    raise ProcessFailed(f"{name} ended with {process.returncode} before {what}\n{self._tail(name)}")
            if time.monotonic() > end:
                logs = "\n".join(self._tail(name) for name in self._running)
                raise ProcessFailed(f"{what}: not within {seconds:g} s\n{logs}")
            time.sleep(0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running.values():
            process.terminate()
        for name in list(self._running):
            self.stop(name)

    def _tail(self, name: str) -> str:
        lines = (self._folder / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join([f"--- the end of {name}.log", *lines[-15:]])


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

"""`tollkeeper dev` as a process, in a folder that other accounts may enter: as root its servers run as another one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE_SECONDS = 90
_NAMED = ("DATABASE_URL", "REDIS_URL")


def environment() -> dict[str, str]:
    """Without any setting of ours, and with the commands of this environment on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOLLKEEPER_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return {
        **{name: value for name, value in kept.items() if name not in _NAMED},
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def open_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tollkeeper-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@dataclass
class Dev:
    """What runs, where it answers, and what it has said so far."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/billing/readyz", timeout=2):
                    return
            except OSError:
                assert self.process.poll() is None, self.said()
                assert time.monotonic() < deadline, self.said()
                time.sleep(0.2)

    def stop(self) -> int:
        """Press Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def dev(folder: Path, *arguments: str) -> Iterator[Dev]:
    running = _started(folder, arguments)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


def _started(folder: Path, arguments: tuple[str, ...], tries: int = 5) -> Dev:
    """Ready to answer. A port that was free a moment ago may be somebody else's by now: then with another one."""
    port, log = free_port(), folder / "dev.log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "tollkeeper", "dev", "--port", str(port), *arguments]
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=out, stderr=subprocess.STDOUT)
    running = Dev(process, port, log)
    try:
        running.wait_until_ready()
    except AssertionError:
        process.kill()
        process.wait()
        if tries and ("address already in use" in running.said() or "is taken by" in running.said()):
            return _started(folder, arguments, tries - 1)
        raise
    return running

"""Everything that an installation consists of, on one machine, with one log, until somebody stops it."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from tollkeeper.demo.processes import Processes
from tollkeeper.embedded import services_from_environment
from tollkeeper.storage.migrating import upgrade

Say = Callable[[str], None]


def develop(app: str, port: int, folder: Path, say: Say) -> int:
    """Run servers, web, worker and beat until Ctrl-C or until one of them ends; 0, or 1 where one ended by itself."""
    if _taken(port):
        say(f"port {port} is taken by something else; choose another one with --port")
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with ExitStack() as stack:
        services = stack.enter_context(services_from_environment(keep=folder.resolve()))
        environment = {
            "TOLLKEEPER_DATABASE_URL": services.database_url,
            "TOLLKEEPER_REDIS_URL": services.redis_url,
            "TOLLKEEPER_JOURNAL_DIR": str(folder.resolve() / "journal"),
            "TOLLKEEPER_ADMIN_TOKEN": os.environ.get("TOLLKEEPER_ADMIN_TOKEN") or secrets.token_urlsafe(24),
        }
        upgrade(services.database_url)
        processes = stack.enter_context(Processes(Path.cwd(), environment))
        for name, arguments in _commands(app, port).items():
            _follow(name, processes.follow(name, arguments), say)
        say(f"web      http://127.0.0.1:{port}")
        say(f"         http://127.0.0.1:{port}/billing/admin/ is the desk, its token is below")
        for name, value in environment.items():
            say(f"         export {name}={value}")
        while not stopped.wait(0.3):
            ended = processes.ended()
            if ended is not None:
                say(f"{ended} ended by itself; stopping the others")
                return 1
        say("stopping")
    return 0


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: what has just ended is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _commands(app: str, port: int) -> Mapping[str, list[str]]:
    celery = ["celery", "-A", "tollkeeper_workers"]
    return {
        "web": ["uvicorn", app, "--host", "127.0.0.1", "--port", str(port)],
        "worker": [*celery, "worker", "--loglevel", "INFO"],
        "beat": [*celery, "beat", "--loglevel", "INFO"],
    }


def _follow(name: str, process: subprocess.Popen[bytes], say: Say) -> None:
    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            say(f"{name:<8} {line.decode(errors='replace').rstrip()}")
        sys.stdout.flush()

    threading.Thread(target=read, daemon=True).start()

"""Heartbeats: every worker and every beat says in the database that it is alive.

A worker says so from its main process, between two messages and over a connection that is closed at once: nothing that a
child could inherit when the next one is forked. Beat has no children and uses a thread. That messages come through as well is
what the task `tollkeeper.heartbeat` shows.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from typing import Any

from celery import current_task, signals

from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.runtime import Runtime
from tollkeeper.services.beating import say_alive
from tollkeeper.settings import Settings
from tollkeeper.storage.heartbeats import Role

log = logging.getLogger(__name__)

_settings: Settings | None = None
_last = float("-inf")


def listen(settings: Settings) -> None:
    """Follow the signs of life of the process that this is, if it becomes a worker or a beat."""
    global _settings
    _settings = settings
    signals.heartbeat_sent.connect(_on_heartbeat, dispatch_uid="tollkeeper")
    signals.beat_init.connect(_on_beat, dispatch_uid="tollkeeper")
    signals.beat_embedded_init.connect(_on_beat, dispatch_uid="tollkeeper")


def this_worker() -> str:
    """The name of the worker that runs the present task, as its main process calls itself."""
    return str(current_task.request.hostname) if current_task else socket.gethostname()


def _on_heartbeat(sender: Any, **_: Any) -> None:
    """Celery's own heartbeat comes every two seconds; ours goes with it, once a sweep."""
    global _last
    if _settings is not None and time.monotonic() - _last >= _settings.sweep_seconds:
        _last = time.monotonic()
        _say(_settings, str(sender.eventer.hostname), "worker")


def _on_beat(sender: Any, **_: Any) -> None:
    name = f"{socket.gethostname()} {os.getpid()}"
    threading.Thread(target=_go_on, args=(name,), name="tollkeeper-heartbeat", daemon=True).start()


def _go_on(name: str) -> None:
    while _settings is not None:
        _say(_settings, name, "beat")
        time.sleep(_settings.sweep_seconds)


def _say(settings: Settings, name: str, role: Role) -> None:
    """Nothing depends on it, so a database that is away costs no more than a line in the log."""
    own = Runtime(settings)
    try:
        say_alive(own.database, name, role, own.clock.now())
    except TollkeeperError as error:
        log.warning("no heartbeat was written: %s", error)
    except Exception:
        log.exception("no heartbeat was written")
    finally:
        own.close()

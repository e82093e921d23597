"""The runtime of one worker process. Built after the fork, because connections do not survive one."""

from __future__ import annotations

import os

from tollkeeper.runtime import Runtime
from tollkeeper.settings import Settings

_settings: Settings | None = None
_runtimes: dict[int, Runtime] = {}


def use(settings: Settings) -> None:
    """Work with these settings from now on."""
    global _settings
    _settings = settings
    _runtimes.clear()


def runtime() -> Runtime:
    """This process's own runtime, made when first asked for."""
    pid = os.getpid()
    if pid not in _runtimes:
        _runtimes.clear()  # what a parent process had is not ours to use
        _runtimes[pid] = Runtime(_settings)
    return _runtimes[pid]

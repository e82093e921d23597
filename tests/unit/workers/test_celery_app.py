"""The ready app is set up so that nothing is lost, nothing waits behind a slow task, and nobody waits for a result."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import Any

import pytest
from celery import Celery

from tollkeeper.settings import read_settings
from tollkeeper_workers import install
from tollkeeper_workers.installing import HARD_LIMIT_SECONDS

_SHOW = """
import json
from tollkeeper_workers.celery import app
names = %r
print(json.dumps({name: getattr(app.conf, name) for name in names}))
"""


def conf(*names: str) -> dict[str, Any]:
    environment = {**os.environ, "REDIS_URL": "redis://localhost:1/0", "DATABASE_URL": "postgresql://nowhere/nothing"}
    command = [sys.executable, "-c", _SHOW % (names,)]
    shown = subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout
    found: dict[str, Any] = json.loads(shown)
    return found


def test_the_ready_app_loses_nothing_and_lets_nothing_wait() -> None:
    expected = {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_ignore_result": True,
        "result_backend": None,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_max_tasks_per_child": 1000,
        "worker_max_memory_per_child": 400_000,
        "accept_content": ["json"],
        "timezone": "UTC",
        "task_default_queue": "tollkeeper",
    }
    found = conf(*expected, "broker_transport_options")
    options = found.pop("broker_transport_options")
    assert found == expected
    assert options["visibility_timeout"] >= 10 * HARD_LIMIT_SECONDS
    assert options["unacked_restore_interval"] * options["unacked_restore_throttle"] <= 10


@pytest.mark.parametrize(("seconds", "warned"), [(None, False), (3600, False), (2999, True)])
def test_a_host_whose_broker_gives_tasks_out_again_too_soon_is_told(
    seconds: int | None, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = Celery("host", broker="memory://", set_as_current=False)
    if seconds is not None:
        app.conf.broker_transport_options = {"visibility_timeout": seconds}
    with caplog.at_level(logging.WARNING):
        install(app, read_settings(database_url="postgresql://nowhere/nothing"))
    assert ("visibility_timeout is 2999 s" in caplog.text) == warned

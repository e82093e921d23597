"""Put our tasks and their schedule into a Celery app, ours or a host's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import Any

from celery import Celery

from tollkeeper.acting import acting_as
from tollkeeper.settings import Settings, read_settings
from tollkeeper_workers import heart, process
from tollkeeper_workers.schedule import SCHEDULE
from tollkeeper_workers.tasks import TASKS

log = logging.getLogger(__name__)

QUEUE = "tollkeeper"
SOFT_LIMIT_SECONDS = 240
HARD_LIMIT_SECONDS = 300
VISIBILITY_SECONDS = 3600
"""What a broker on Redis gives out again after this long has been lost: at least ten times the hard limit."""


def install(celery_app: Celery, settings: Settings | None = None) -> None:
    """Add every task, their queue and their beat entries. The host's own tasks, queues and schedule stay as they are.

    Call it once the app is configured. A worker that is to run the tasks consumes the queue `tollkeeper`:
    `celery -A … worker --queues celery,tollkeeper`.
    """
    settings = settings if settings is not None else read_settings()
    process.use(settings)
    heart.listen(settings)
    for name, function in TASKS.items():
        celery_app.task(
            _as_worker(function),
            name=name,
            shared=False,  # with this app alone, not with every other one of the process
            serializer="json",
            ignore_result=True,
            acks_late=True,
            reject_on_worker_lost=True,
            soft_time_limit=SOFT_LIMIT_SECONDS,
            time_limit=HARD_LIMIT_SECONDS,
        )
    conf = celery_app.conf
    _check_visibility(conf.broker_transport_options)
    conf.update(
        task_routes=[{"tollkeeper.*": {"queue": QUEUE}}, *_listed(conf.task_routes)],
        beat_schedule={**(conf.beat_schedule or {}), **_entries(settings)},
    )


@cache
def _as_worker(function: Callable[[], None]) -> Callable[[], None]:
    """The task as Celery runs it: what it does was asked for by nobody."""

    @wraps(function)
    def task() -> None:
        with acting_as("worker"):
            function()

    return task


def _check_visibility(options: Mapping[str, Any] | None) -> None:
    """The shortest of all apps on one broker wins, so a host's own may be too short for any task that takes minutes."""
    seconds = (options or {}).get("visibility_timeout", VISIBILITY_SECONDS)
    if seconds < 10 * HARD_LIMIT_SECONDS:
        log.warning(
            "visibility_timeout is %s s; below %d s a task that still runs may be given to a second worker",
            seconds,
            10 * HARD_LIMIT_SECONDS,
        )


def _listed(routes: Any) -> list[Any]:
    """Celery takes one router as well as several."""
    if routes is None:
        return []
    return list(routes) if isinstance(routes, list | tuple) else [routes]


def _entries(settings: Settings) -> dict[str, dict[str, Any]]:
    """Beat's form of the table. An unread message expires with the next one, so that none pile up without a worker."""
    return {
        entry.task: {
            "task": entry.task,
            "schedule": float(entry.every * settings.sweep_seconds),
            "options": {"queue": QUEUE, "expires": max(10, entry.every * settings.sweep_seconds)},
        }
        for entry in SCHEDULE
    }

"""The ready app, for `celery -A tollkeeper_workers …`."""

from __future__ import annotations

from celery import Celery

from tollkeeper.settings import read_settings
from tollkeeper_workers.broker import broker_url, broker_use_ssl
from tollkeeper_workers.installing import QUEUE, VISIBILITY_SECONDS, install

settings = read_settings()

app = Celery("tollkeeper", broker=broker_url(settings.need_redis_url()))
app.conf.update(
    broker_use_ssl=broker_use_ssl(settings.need_redis_url()),
    task_default_queue=QUEUE,
    timezone="UTC",
    accept_content=["json"],
    # Nobody waits for a result: what a task did stands in the database. A backend would only make publishing slow.
    result_backend=None,
    task_ignore_result=True,
    # A task is acknowledged when it is done, and given to another worker when its own is killed.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    # One slow task keeps no quick ones waiting behind it.
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    # A child that has grown is replaced: whatever leaks in a library stays bounded.
    worker_max_tasks_per_child=1000,
    worker_max_memory_per_child=400_000,  # KiB
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        # Far above the hard time limit, or a task that is still running would be given out a second time.
        "visibility_timeout": VISIBILITY_SECONDS,
        # Looked for every ten seconds; unless set, a hundred pass before what a dead worker had is given out again.
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
    },
    # The schedule is a table in the code: nothing has to be remembered in a file between two runs of beat.
    beat_scheduler="celery.beat:Scheduler",
)
install(app, settings)

"""The ready app, for `celery -A tollkeeper_workers …`."""

from __future__ import annotations

from celery import Celery

from tollkeeper.settings import read_settings
from tollkeeper_workers.broker import broker_url, broker_use_ssl
from tollkeeper_workers.installing import QUEUE, install

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
    worker_prefetch_multiplier=1,
    worker_max_tasks_per_child=1000,
    broker_connection_retry_on_startup=True,
    # Far above the hard time limit, or a task that is still running would be given out a second time.
    broker_transport_options={"visibility_timeout": 3600},
    # The schedule is a table in the code: nothing has to be remembered in a file between two runs of beat.
    beat_scheduler="celery.beat:Scheduler",
)
install(app, settings)

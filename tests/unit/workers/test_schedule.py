"""The table of what runs when, and how it gets into a Celery app: ours or a host's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from celery import Celery

from tollkeeper.settings import read_settings
from tollkeeper_workers import install
from tollkeeper_workers.schedule import SCHEDULE
from tollkeeper_workers.tasks import TASKS


def host() -> Celery:
    """A host's app, with a task, a queue and a schedule of its own."""
    app = Celery("host", broker="memory://", set_as_current=False)
    app.conf.task_default_queue = "host"
    app.conf.task_serializer = "pickle"
    app.conf.task_routes = {"host.nightly": {"queue": "night"}}
    app.conf.beat_schedule = {"theirs": {"task": "host.nightly", "schedule": 3600.0}}
    app.task(_nightly, name="host.nightly")
    return app


def _nightly() -> None:
    """What the host does itself."""


def test_every_task_has_a_line_in_the_table_that_says_why() -> None:
    assert sorted(entry.task for entry in SCHEDULE) == sorted(TASKS)
    assert all(entry.task.startswith("tollkeeper.") and len(entry.why) > 20 and entry.every > 0 for entry in SCHEDULE)


def test_the_page_about_operations_shows_the_table_as_it_is() -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "operations.md").read_text(encoding="utf-8")
    for entry in SCHEDULE:
        row = f"| `{entry.task.removeprefix('tollkeeper.')}` | {entry.every} | {entry.why} |"
        assert row in page, f"docs/how-to/operations.md lacks the line {row}"
    assert page.count("\n| `") == len(SCHEDULE)


def test_a_host_gets_our_tasks_on_our_queue_and_keeps_all_of_its_own() -> None:
    app = host()
    install(app, read_settings(database_url="postgresql://nowhere/nothing", sweep_seconds=7))

    ours = {name for name in app.tasks if name.startswith("tollkeeper.")}
    assert ours == set(TASKS)
    for name in ours:
        task = app.tasks[name]
        assert (task.serializer, task.ignore_result) == ("json", True)
        assert app.amqp.router.route({}, name)["queue"].name == "tollkeeper"
        assert (task.acks_late, task.reject_on_worker_lost) == (True, True)
        assert 0 < task.soft_time_limit < task.time_limit < 3600

    assert app.amqp.router.route({}, "host.nightly")["queue"].name == "night"
    assert app.amqp.router.route({}, "host.other")["queue"].name == "host"
    assert app.conf.beat_schedule["theirs"] == {"task": "host.nightly", "schedule": 3600.0}
    report = app.conf.beat_schedule["tollkeeper.report_owed"]
    assert (report["schedule"], report["options"]) == (7.0, {"queue": "tollkeeper", "expires": 10})


def test_importing_the_package_needs_no_settings_and_starts_nothing() -> None:
    code = (
        "import sys, tollkeeper_workers; "
        "sys.exit('tollkeeper_workers.celery' in sys.modules or 'stripe' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env={}, check=False).returncode == 0

"""The command line as a process: exit statuses, the two streams, and what it does when nothing is there."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from tollkeeper.domain.keys import looks_like_key
from tollkeeper.domain.plan_file import parse_plans
from tollkeeper.services.onboarding import add_customer
from tollkeeper.services.planning import apply_plans
from tollkeeper.storage.database import Database
from tollkeeper.testing.clock import FrozenClock

COMMAND = [sys.executable, "-c", "from tollkeeper.cli import main; main()"]
PLANS = '[plans.pro]\ncurrency = "usd"\n[[plans.pro.prices]]\nprice = "0.01"\n'
ROW = {"user_id": "ada", "timestamp": "2026-10-03T10:00:00Z", "model_id": "m", "tokens_in": 1, "tokens_out": 0}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nothing of ours is set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOLLKEEPER_", "STRIPE_"))}
    return {name: value for name, value in kept.items() if name not in ("DATABASE_URL", "REDIS_URL")}


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def run(*arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            input=stdin, env={**environment, **variables}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def url(migrated_database_url: str, clock: FrozenClock) -> str:
    """A database with a plan and the customer `ada`."""
    with Database(migrated_database_url) as database:
        apply_plans(database, parse_plans(PLANS), clock.now())
        add_customer(database, "ada", email="ada@example.com", plan_id="pro", now=clock.now())
    return migrated_database_url


def test_without_a_database_set_the_one_line_says_what_to_set(run: Run) -> None:
    ran = run("plans", "list")

    assert (ran.returncode, ran.stdout) == (2, "")
    assert (
        ran.stderr
        == "tollkeeper: TOLLKEEPER_DATABASE_URL (or DATABASE_URL) is not set; it is needed to reach PostgreSQL\n"
    )


def test_a_setting_that_is_wrong_is_named_and_not_shown(run: Run) -> None:
    ran = run("plans", "list", DATABASE_URL="mysql://ada:hunter2@localhost/bills")

    assert ran.returncode == 2
    assert ran.stderr.startswith("tollkeeper: ")
    assert ran.stderr.count("\n") == 1
    assert "hunter2" not in ran.stderr


def test_a_database_that_is_away_is_one_line_and_status_1(run: Run) -> None:
    for arguments in (["plans", "list"], ["db", "upgrade"]):
        ran = run(*arguments, DATABASE_URL="postgresql://ada:hunter2@127.0.0.1:1/bills")

        assert (ran.returncode, ran.stdout) == (1, "")
        assert ran.stderr.startswith("tollkeeper: PostgreSQL did not answer: ")
        assert ran.stderr.count("\n") == 1
        assert "hunter2" not in ran.stderr


def test_a_key_can_be_taken_into_a_variable_by_a_shell(run: Run, url: str) -> None:
    ran = run("keys", "issue", "ada", DATABASE_URL=url)

    assert ran.returncode == 0
    assert looks_like_key(ran.stdout.removesuffix("\n"))
    assert "not shown again" in ran.stderr


def test_an_import_through_a_pipe_reports_rows_apart_from_counts(run: Run, url: str) -> None:
    rows = [{**ROW, "id": str(UUID(int=1))}, {**ROW, "id": "x"}]
    ran = run("usage", "import", "-", stdin="\n".join(map(json.dumps, rows)), DATABASE_URL=url)

    assert (ran.returncode, ran.stdout) == (1, "accepted 1 duplicate 0 rejected 1\n")
    assert ran.stderr == "line 2: id: expected a UUID\n"


@pytest.mark.parametrize("name", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_form_of_the_url_is_accepted(run: Run, url: str, name: str) -> None:
    ran = run("customers", "list", "--json", TOLLKEEPER_DATABASE_URL=url.replace("postgresql", name, 1))

    assert [customer["user_id"] for customer in json.loads(ran.stdout)] == ["ada"]


def test_on_a_terminal_an_import_shows_how_far_it_is_and_leaves_no_trace(
    url: str, environment: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "usage.jsonl"
    path.write_text("\n".join(json.dumps({**ROW, "id": str(UUID(int=n))}) for n in range(600)))
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "usage", "import", str(path)],
        env={**environment, "DATABASE_URL": url}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        assert process.stdout is not None
        stdout = process.stdout.read().decode()
        shown = os.read(ours, 65_536).decode()
    os.close(ours)

    assert process.returncode == 0
    assert stdout == "accepted 600 duplicate 0 rejected 0\n"
    assert "500 rows …" in shown
    assert "600 rows …" in shown
    assert shown.split("\r")[-2].strip() == ""


def test_the_version_is_told_without_a_database(run: Run) -> None:
    ran = run("--version")

    assert ran.returncode == 0
    assert ran.stdout.split()[-1][0].isdigit()

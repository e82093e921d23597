from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module

import psycopg.errors
import pytest
import sqlalchemy.exc
from click.testing import CliRunner

import tollkeeper.services
import tollkeeper.storage
from tollkeeper.cli import main
from tollkeeper.cli.edge import MISTAKES, Failure, Mistake, as_failure
from tollkeeper.domain.errors import InvalidInput, NotFound, SettingMissing, StoreUnavailable, TollkeeperError


def test_asking_for_help_loads_neither_celery_nor_stripe_nor_a_server() -> None:
    code = (
        "import sys\n"
        "from tollkeeper.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('celery', 'stripe', 'uvicorn', 'fastapi', 'sqlalchemy') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.splitlines()[-1] == "[]"
    assert "Compare events, totals, invoices, Stripe and Paystack." in ran.stdout


@pytest.mark.parametrize("arguments", [["plans", "--help"], ["usage", "import", "--help"], ["doctor", "--help"]])
def test_help_of_a_command_needs_no_settings(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "TOLLKEEPER_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    answer = CliRunner().invoke(main, arguments)

    assert answer.exit_code == 0
    assert answer.stdout.startswith("Usage: ")


def test_a_command_that_does_not_exist_is_a_usage_error() -> None:
    answer = CliRunner().invoke(main, ["bill"])

    assert answer.exit_code == 2
    assert "No such command 'bill'" in answer.stderr


@pytest.mark.parametrize(
    "error", [InvalidInput("email", "one mail address"), NotFound("plan", "pro"), SettingMissing("X", "to do Y")]
)
def test_a_mistake_is_one_line_and_status_2(error: TollkeeperError) -> None:
    failure = as_failure(error)

    assert isinstance(failure, Mistake)
    assert failure.exit_code == 2
    assert failure.format_message() == str(error)


def test_what_may_work_later_is_status_1_and_still_one_line() -> None:
    failure = as_failure(StoreUnavailable("PostgreSQL did not answer:\n  connection refused"))

    assert type(failure) is Failure
    assert failure.exit_code == 1
    assert failure.format_message() == "PostgreSQL did not answer: connection refused"


def test_a_database_without_our_tables_is_told_how_to_get_them() -> None:
    missing = psycopg.errors.UndefinedTable('relation "plans" does not exist')
    for error in (missing, sqlalchemy.exc.ProgrammingError("SELECT", {}, missing)):
        failure = as_failure(error)
        assert isinstance(failure, Mistake)
        assert "tollkeeper db upgrade" in failure.format_message()


def test_what_postgresql_refuses_is_one_line() -> None:
    denied = psycopg.errors.InsufficientPrivilege("permission denied for schema public\nLINE 2: CREATE TABLE")
    failure = as_failure(sqlalchemy.exc.ProgrammingError("CREATE TABLE", {}, denied))

    assert type(failure) is Failure
    assert failure.format_message() == "PostgreSQL refused: permission denied for schema public"


def test_a_disk_that_is_full_and_a_file_that_is_closed_to_us_are_one_line() -> None:
    full, closed = (
        as_failure(OSError(28, "No space left on device")),
        as_failure(PermissionError(13, "Denied", "a.csv")),
    )
    assert (full and full.message, closed and closed.message) == ("No space left on device", "a.csv: Denied")
    assert as_failure(BrokenPipeError(32, "Broken pipe")) is None  # a reader that has enough is no failure


def test_evidence_that_cannot_be_saved_is_told_before_the_demo_runs() -> None:
    ran = CliRunner().invoke(main, ["demo", "--evidence", "/nowhere/at/all/evidence.json"])
    assert (ran.exit_code, "there is no folder /nowhere/at/all" in ran.stderr) == (2, True)


def test_an_error_that_nobody_foresaw_is_left_as_it_is() -> None:
    assert as_failure(ZeroDivisionError("division by zero")) is None


def test_every_code_in_the_table_is_the_code_of_an_error() -> None:
    for package in (tollkeeper.services, tollkeeper.storage):
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            import_module(module.name)
    import_module("tollkeeper.domain.plan_file")

    assert {cls.code for cls in _descendants(TollkeeperError)} >= MISTAKES


def _descendants(cls: type[TollkeeperError]) -> list[type[TollkeeperError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _descendants(child))]

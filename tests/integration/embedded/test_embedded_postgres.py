from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tollkeeper.embedded import EmbeddedPostgres, ServerFailed, Services


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(fsync=False) as server:
        yield server


def asked(url: str, question: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question).fetchone()
        return row and row[0]


def segments() -> list[str]:
    """The ids of all System V shared memory of the machine."""
    return [line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("SHOW server_encoding", "UTF8"),
        ("SHOW timezone", "UTC"),
        ("SELECT current_setting('max_connections')::int >= 100", True),
        ("SHOW listen_addresses", "127.0.0.1"),
        ("SHOW unix_socket_directories", ""),
        ("SELECT upper('żółw')", "ŻÓŁW"),
        ("SHOW fsync", "off"),
    ],
)
def test_the_server_is_set_up_as_promised(postgres: EmbeddedPostgres, question: str, answer: object) -> None:
    assert asked(postgres.url, question) == answer


def test_commits_are_durable_unless_told_otherwise() -> None:
    with EmbeddedPostgres() as server:
        assert (
            asked(
                server.url,
                "SELECT bool_and(setting = 'on') FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')",
            )
            is True
        )


def test_whoever_does_not_know_the_password_is_turned_away(postgres: EmbeddedPostgres) -> None:
    parts = urlsplit(postgres.url)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://{parts.username}:guess@127.0.0.1:{parts.port}/postgres")


def test_several_start_at_a_time_and_do_not_meet() -> None:
    several = [Services(fsync=False) for _ in range(3)]
    with ThreadPoolExecutor() as threads:
        list(threads.map(Services.start, several))
    try:
        for number, services in enumerate(several):
            with psycopg.connect(services.database_url) as connection:
                connection.execute(f"CREATE TABLE mine_{number} ()")
        counts = [
            asked(each.database_url, "SELECT count(*) FROM pg_tables WHERE tablename ~ '^mine'") for each in several
        ]
        assert counts == [1, 1, 1]
    finally:
        for services in several:
            services.stop()


def test_a_stalled_server_answers_nothing_until_it_goes_on(postgres: EmbeddedPostgres) -> None:
    answers: list[object] = []
    with psycopg.connect(postgres.url) as connection:
        waiter = threading.Thread(target=lambda: answers.append(connection.execute("SELECT 1").fetchone()))
        postgres.pause()
        try:
            waiter.start()
            waiter.join(0.3)
            assert answers == []
        finally:
            postgres.resume()
        waiter.join(10)
    assert answers == [(1,)]


@pytest.mark.parametrize("killed", [False, True], ids=["in good order", "after a kill"])
def test_a_restarted_server_has_its_address_and_its_data(postgres: EmbeddedPostgres, killed: bool) -> None:
    before = postgres.url
    with psycopg.connect(postgres.url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS number")
    if killed:
        postgres.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(before)
    postgres.restart()
    assert postgres.url == before
    assert asked(before, "SELECT number FROM kept") == 42


def test_a_kill_ends_open_connections_at_once(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.url) as connection:
        postgres.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    postgres.restart()


def test_a_kill_leaves_no_shared_memory_with_the_kernel(postgres: EmbeddedPostgres) -> None:
    segment = str(asked(postgres.url, "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 7)")).split()[-1]
    assert segment in segments()
    postgres.kill()
    assert segment not in segments()
    postgres.restart()


def test_kept_data_are_there_at_the_next_start(keep: Path) -> None:
    with EmbeddedPostgres(keep=keep, fsync=False) as first, psycopg.connect(first.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS number")
    with EmbeddedPostgres(keep=keep, fsync=False) as second:
        assert asked(second.url, "SELECT number FROM kept") == 42
        assert stat.S_IMODE((keep / "password").stat().st_mode) == 0o600


def test_a_first_start_that_was_cut_short_is_begun_anew(keep: Path) -> None:
    (keep / "unfinished").mkdir(parents=True)
    (keep / "unfinished" / "PG_VERSION").write_text("18\n")
    keep.chmod(0o711)
    with EmbeddedPostgres(keep=keep, fsync=False) as server:
        assert asked(server.url, "SELECT 1") == 1


def test_a_kept_folder_serves_one_at_a_time_and_the_second_is_told_why(keep: Path) -> None:
    with EmbeddedPostgres(keep=keep, fsync=False) as first:
        with pytest.raises(ServerFailed, match=r"PostgreSQL: .*postmaster\.pid.* already exists"):
            EmbeddedPostgres(keep=keep, fsync=False).start()
        assert asked(first.url, "SELECT 1") == 1


def test_a_server_that_was_not_started_says_so() -> None:
    with pytest.raises(ServerFailed, match="PostgreSQL: not started"):
        _ = EmbeddedPostgres().url


def test_stopping_twice_is_stopping_once() -> None:
    server = EmbeddedPostgres(fsync=False).start()
    server.stop()
    server.stop()
    with pytest.raises(ServerFailed, match="not started"):
        server.restart()

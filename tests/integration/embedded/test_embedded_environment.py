from __future__ import annotations

import psutil  # type: ignore[import-untyped] # ships no types
import psycopg
import pytest

from tollkeeper.embedded import ServerFailed, Services, services_from_environment

_NAMES = ("TOLLKEEPER_DATABASE_URL", "DATABASE_URL", "TOLLKEEPER_REDIS_URL", "REDIS_URL")


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _NAMES:
        monkeypatch.delenv(name, raising=False)


def test_servers_named_in_the_environment_are_used_and_none_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://user@db.example/app")
    monkeypatch.setenv("REDIS_URL", "redis://cache.example/0")
    before = psutil.Process().children(recursive=True)
    with services_from_environment() as services:
        assert services.database_url == "postgresql://user@db.example/app"
        assert services.redis_url == "redis://cache.example/0"
        assert psutil.Process().children(recursive=True) == before


def test_only_the_server_that_is_not_named_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLKEEPER_REDIS_URL", "redis://cache.example/0")
    with services_from_environment(fsync=False) as services:
        assert services.redis_url == "redis://cache.example/0"
        with psycopg.connect(services.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_addresses_show_no_password_when_printed() -> None:
    with services_from_environment(fsync=False) as services:
        assert repr(services) == "Addresses()"


def test_a_service_that_was_not_asked_for_has_no_address() -> None:
    with Services(postgres=False) as services, pytest.raises(ServerFailed, match="PostgreSQL: not started"):
        _ = services.database_url

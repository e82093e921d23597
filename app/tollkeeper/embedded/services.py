"""Both servers together, or those that the environment names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tollkeeper.embedded.postgres import EmbeddedPostgres
from tollkeeper.embedded.redis import EmbeddedRedis
from tollkeeper.embedded.server import EmbeddedServer
from tollkeeper.settings import Settings, read_settings


@dataclass(frozen=True)
class Addresses:
    """Where PostgreSQL and Redis are, whoever runs them."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)


class Services:
    """PostgreSQL and Redis of our own while the context lasts; `keep` is a folder in which their data outlive it."""

    def __init__(
        self, postgres: bool = True, redis: bool = True, keep: Path | None = None, *, fsync: bool = True
    ) -> None:
        self.postgres = EmbeddedPostgres(keep=keep and keep / "postgres", fsync=fsync)
        self.redis = EmbeddedRedis(keep=keep and keep / "redis")
        self._wanted: list[EmbeddedServer] = [*([self.postgres] if postgres else []), *([self.redis] if redis else [])]

    @property
    def database_url(self) -> str:
        """PostgreSQL's address; `ServerFailed` where it was not asked for."""
        return self.postgres.url

    @property
    def redis_url(self) -> str:
        """Redis's address; `ServerFailed` where it was not asked for."""
        return self.redis.url

    def start(self) -> Self:
        """Starts what was asked for; when one of them fails none stays."""
        with ExitStack() as undo:
            for server in self._wanted:
                undo.enter_context(server)
            undo.pop_all()
        return self

    def stop(self) -> None:
        """Stops what was started, the last first."""
        for server in reversed(self._wanted):
            server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextmanager
def services_from_environment(
    settings: Settings | None = None, *, keep: Path | None = None, fsync: bool = True
) -> Iterator[Addresses]:
    """The servers that the settings name, and embedded ones for those that they do not."""
    named = settings or read_settings()
    with Services(named.database_url is None, named.redis_url is None, keep, fsync=fsync) as own:
        yield Addresses(named.database_url or own.database_url, named.redis_url or own.redis_url)

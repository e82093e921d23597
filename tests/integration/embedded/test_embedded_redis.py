from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from tollkeeper.embedded import EmbeddedRedis


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as started:
        yield started


@pytest.fixture
def client(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url, socket_timeout=0.3, retry=None) as connected:
        yield connected


def test_whoever_does_not_know_the_password_is_turned_away(server: EmbeddedRedis) -> None:
    address = urlsplit(server.url)._replace(netloc=f"127.0.0.1:{urlsplit(server.url).port}").geturl()
    with redis.Redis.from_url(address, retry=None) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_scripts_run(client: redis.Redis) -> None:
    assert client.eval("return redis.call('INCRBY', KEYS[1], ARGV[1])", 1, "sum", 7) == 7


def test_a_stalled_server_answers_nothing_until_it_goes_on(server: EmbeddedRedis, client: redis.Redis) -> None:
    client.ping()
    server.pause()
    try:
        with pytest.raises(redis.TimeoutError):
            client.ping()
    finally:
        server.resume()
    assert client.ping()


def test_a_restarted_server_has_its_address_and_is_empty(server: EmbeddedRedis, client: redis.Redis) -> None:
    before = server.url
    client.set("copy", 1)
    server.kill()
    with pytest.raises(redis.ConnectionError):
        client.ping()
    server.restart()
    assert server.url == before
    assert client.get("copy") is None


def test_kept_data_are_there_at_the_next_start(keep: Path) -> None:
    with EmbeddedRedis(keep=keep) as first, redis.Redis.from_url(first.url) as client:
        client.set("kept", 42)
    with EmbeddedRedis(keep=keep) as second, redis.Redis.from_url(second.url) as client:
        assert client.get("kept") == b"42"

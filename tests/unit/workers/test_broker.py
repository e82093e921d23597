from __future__ import annotations

import ssl

import pytest

from tollkeeper_workers.broker import broker_url, broker_use_ssl


@pytest.mark.parametrize(
    ("redis_url", "expected"),
    [
        ("redis://localhost:6379/2", "redis://localhost:6379/2"),
        ("rediss://:secret@redis.example:6380/0", "rediss://:secret@redis.example:6380/0"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
        ("unix://:secret@/run/redis.sock?db=3", "redis+socket://:secret@/run/redis.sock?virtual_host=3"),
    ],
)
def test_every_redis_address_has_a_spelling_that_the_broker_understands(redis_url: str, expected: str) -> None:
    assert broker_url(redis_url) == expected


def test_an_encrypted_connection_checks_the_certificate_unless_the_address_says_otherwise() -> None:
    assert broker_use_ssl("redis://localhost") is None
    assert broker_use_ssl("rediss://redis.example") == {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    assert broker_use_ssl("rediss://redis.example?ssl_cert_reqs=none") is None

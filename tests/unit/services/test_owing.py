"""What Stripe is told, and under which names."""

from __future__ import annotations

from tollkeeper.services.owing import MOST_BYTES, next_identifier


def test_an_identifier_that_cannot_be_used_again_is_followed_by_a_numbered_one() -> None:
    assert next_identifier("ada:20261101T000000Z:gpt-4o:input:r1") == "ada:20261101T000000Z:gpt-4o:input:r1.2"
    assert next_identifier("ada:20261101T000000Z:gpt-4o:input:r1.2") == "ada:20261101T000000Z:gpt-4o:input:r1.3"
    long = next_identifier("a" * MOST_BYTES)
    assert len(long) <= MOST_BYTES
    assert long != next_identifier("b" * MOST_BYTES)

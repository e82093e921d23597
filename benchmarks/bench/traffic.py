"""The requests that every app gets: the same chat question from ten thousand customers in turn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

CUSTOMERS = 10_000
PATH = "/v1/chat/completions"


def user_id(customer: int) -> str:
    """The name of a customer."""
    return f"customer-{customer}"


def api_key(customer: int) -> str:
    """The customer's key, of the length that issued keys have."""
    return f"tk_{customer:043}"


def body(*, stream: bool) -> bytes:
    """A chat request that states its limit, as careful clients do."""
    question: dict[str, Any] = {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "You answer in one paragraph, in plain words."},
            {"role": "user", "content": "Why does the kettle sing before it boils, and why does it stop? " * 4},
        ],
        "max_tokens": 256,
        "stream": stream,
    }
    if stream:
        question["stream_options"] = {"include_usage": True}
    return json.dumps(question).encode()


def headers(customer: int, length: int) -> list[tuple[bytes, bytes]]:
    """Request headers as a server hands them on."""
    return [
        (b"host", b"127.0.0.1"),
        (b"user-agent", b"bench"),
        (b"authorization", b"Bearer " + api_key(customer).encode()),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % length),
    ]


def wire_request(customer: int, content: bytes) -> bytes:
    """A whole request as HTTP/1.1 sends it."""
    lines = b"".join(b"%s: %s\r\n" % header for header in headers(customer, len(content)))
    return b"POST %s HTTP/1.1\r\n%s\r\n%s" % (PATH.encode(), lines, content)


def customers_in_turn(seed: int) -> Iterator[int]:
    """Every customer in turn for ever, in an order that the seed decides: those in flight together are never the same."""
    order = list(range(CUSTOMERS))
    Random(seed).shuffle(order)
    while True:
        yield from order

"""The way of an event to the endpoint that receives it."""

from __future__ import annotations

import http.client
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Delivery:
    """How one delivery was answered."""

    event_id: str
    status: int
    body: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def post(url: str, body: bytes, headers: dict[str, str], timeout_seconds: float) -> tuple[int, str]:
    """Status and text that an endpoint answers, once; one that cannot be reached raises `OSError`."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=timeout_seconds)
    try:
        connection.request("POST", f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}", body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    finally:
        connection.close()

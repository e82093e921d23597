"""Redis's address as Celery's broker wants to hear it."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import parse_qs, urlsplit


def broker_url(redis_url: str) -> str:
    """The same server and database; a socket on this machine has another spelling there."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    [database] = parse_qs(parts.query).get("db", ["0"])
    user = f"{parts.netloc}" if parts.netloc else ""
    return f"redis+socket://{user}{parts.path}?virtual_host={database}"


def broker_use_ssl(redis_url: str) -> dict[str, Any] | None:
    """Certificates are checked unless the address itself says otherwise; the broker's own default is not to."""
    parts = urlsplit(redis_url)
    if parts.scheme != "rediss" or "ssl_cert_reqs" in parse_qs(parts.query):
        return None
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED}

"""A stand-in's handles for a process that it does not run in."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit


class Remote:
    """Asks the stand-in at `url`; a refusal is a `ValueError`."""

    def __init__(self, url: str, timeout_seconds: float = 15) -> None:
        self.url = url
        self._address = urlsplit(url).netloc
        self._timeout_seconds = timeout_seconds

    def calls(self) -> list[dict[str, Any]]:
        return list(self._ask("GET", "calls"))

    def inject(self, kind: str, **matching: Any) -> None:
        self._ask("POST", "faults", {"kind": kind, **matching})

    def faults(self) -> list[dict[str, Any]]:
        return list(self._ask("GET", "faults"))

    def clear_faults(self) -> None:
        self._ask("DELETE", "faults")

    def _ask(self, method: str, path: str, asked: dict[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection(self._address, timeout=self._timeout_seconds)
        try:
            connection.request(method, f"/_standin/{path}", json.dumps(asked) if asked is not None else None)
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(answer["error"])
        return answer

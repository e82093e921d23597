"""One call of Paystack's API: bounded in time and size, and answered with an outcome instead of an exception."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tollkeeper.payments.outcome import Failed, OutcomeUnknown, RateLimited, Refused, Trouble
from tollkeeper.payments.paystack_objects import Answer

if TYPE_CHECKING:
    import requests

_MOST_BYTES = 5_000_000
_SECRETS = re.compile(r"(AUTH|sk_live|sk_test)_\w+")


class PaystackHttp:
    """JSON in, JSON out, with the key on every call. A session is built at the first call in each process."""

    def __init__(self, secret_key: str, api_base: str, timeout_seconds: float) -> None:
        self._secret_key = secret_key
        self._api_base = api_base
        self._timeout_seconds = timeout_seconds
        self._session: requests.Session | None = None
        self._session_of_process: int | None = None

    def call(
        self,
        method: str,
        path: str,
        name: str | None = None,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer | Trouble:
        """What came of a call. `name` is a path's last part as it comes from outside."""
        import requests

        url = self._api_base + path + ("" if name is None else f"/{quote(name, safe='')}")
        try:
            with self._open().request(
                method,
                url,
                params=query,
                json=body,
                auth=self._bear_key,
                timeout=self._timeout_seconds,
                allow_redirects=False,
                stream=True,
            ) as response:
                return _outcome(response.status_code, response.headers, _bounded(response))
        except requests.RequestException as error:
            # Only its kind: the text of the error holds the URL, which may name a customer.
            return OutcomeUnknown(type(error).__name__)

    def _bear_key(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """As `auth`, so that no .netrc on the machine puts another key in its place."""
        request.headers["Authorization"] = f"Bearer {self._secret_key}"
        return request

    def _open(self) -> requests.Session:
        import requests

        if self._session is None or self._session_of_process != os.getpid():
            logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)  # its DEBUG names customers' addresses
            self._session = requests.Session()
            self._session_of_process = os.getpid()
        return self._session


def _bounded(response: requests.Response) -> bytes | None:
    """The body, or None where it is larger than any answer."""
    parts, size = [], 0
    for part in response.iter_content(65_536):
        size += len(part)
        if size > _MOST_BYTES:
            return None
        parts.append(part)
    return b"".join(parts)


def _outcome(status: int, headers: Mapping[str, str], body: bytes | None) -> Answer | Trouble:
    if status >= 500:
        return Failed(status)
    if status == 429:
        return RateLimited(_seconds(headers.get("Retry-After")))
    read = _object(body)
    if status >= 400:
        return _refused(status, read)
    if read is None or not 200 <= status < 300:
        return OutcomeUnknown(f"HTTP {status} without an answer that can be read")
    if read.get("status") is not True:
        return _refused(status, read)
    return Answer(read.get("data"))


def _refused(status: int, body: Mapping[str, Any] | None) -> Refused:
    """What is not there is a 404 to us; Paystack has been seen to say so with a 400 as well."""
    message = _message(body, status)
    missing = status not in (401, 403) and "not found" in message.lower()
    return Refused(404 if missing else status, message, code=_code(body))


def _object(body: bytes | None) -> dict[str, Any] | None:
    try:
        value = json.loads(body or b"")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _message(body: Mapping[str, Any] | None, status: int) -> str:
    message = None if body is None else body.get("message")
    if not isinstance(message, str) or not message:
        return f"HTTP {status}"
    return _SECRETS.sub(r"\1_…", "".join(c if c.isprintable() else " " for c in message[:200]))


def _code(body: Mapping[str, Any] | None) -> str | None:
    code = None if body is None else body.get("code")
    return code[:100] if isinstance(code, str) else None


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 6 else None

"""How the stand-in says no: the statuses, codes and sentences of Paystack's error bodies."""

from __future__ import annotations

from typing import Any


class Problem(Exception):
    """A call is refused; `body` is what the client gets to see."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"status": False, "message": self.message}
        if self.code is not None:
            body |= {"type": "validation_error" if self.status < 500 else "api_error", "code": self.code}
        return body


def no_key() -> Problem:
    return Problem(401, "No Authorization Header was found")


def wrong_key() -> Problem:
    return Problem(401, "Invalid key", "invalid_Key")


def no_such_path(method: str, path: str) -> Problem:
    return Problem(404, f"Cannot {method} {path}")


def invalid(message: str, code: str = "invalid_params") -> Problem:
    return Problem(400, message, code)


def not_found(kind: str) -> Problem:
    return Problem(404, f"{kind} not found", "not_found")


def not_rehearsed(what: str) -> Problem:
    """Valid at Paystack, unknown here: answered loudly, because a stand-in that shrugs proves nothing."""
    return Problem(501, f"Paystack takes {what}, the stand-in does not act on it.", "not_rehearsed")


def broken(status: int) -> Problem:
    if status == 429:
        return Problem(429, "Too many requests", "rate_limit_exceeded")
    return Problem(status, "An error occurred", "unknown")

"""How the stand-in says no: the statuses, types, codes and sentences of Stripe's own error bodies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Problem(Exception):
    """A call is refused; `body` is what the client gets to see."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        error_type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_type = error_type
        self.code = code
        self.param = param

    @property
    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {"message": self.message, "type": self.error_type}
        if self.code:
            error["code"] = self.code
            error["doc_url"] = f"https://docs.stripe.com/error-codes/{self.code.replace('_', '-')}"
        if self.param:
            error["param"] = self.param
        return {"error": error}


def no_api_key() -> Problem:
    return Problem(401, "You did not provide an API key, which belongs into the header 'Authorization: Bearer <key>'.")


def wrong_api_key(key: str) -> Problem:
    return Problem(401, f"Invalid API Key provided: {key[:8]}{'*' * 8}{key[-4:]}")


def not_permitted(method: str, path: str) -> Problem:
    return Problem(403, f"The provided key does not have the required permissions for {method} {path}.")


def unrecognized_url(method: str, path: str) -> Problem:
    return Problem(404, f"Unrecognized request URL ({method}: {path}).")


def not_rehearsed(what: str) -> Problem:
    """Valid at Stripe, unknown here: answered loudly, because a stand-in that shrugs proves nothing."""
    return Problem(501, f"Stripe takes {what}, the stand-in does not act on it.", error_type="api_error")


def unknown_parameter(param: str) -> Problem:
    return _parameter(param, f"Received unknown parameter: {param}", "parameter_unknown")


def missing_parameter(param: str) -> Problem:
    return _parameter(param, f"Missing required param: {param}.", "parameter_missing")


def empty_parameter(param: str) -> Problem:
    sentence = f"You passed an empty string for '{param}', which would unset it; '{param}' cannot be unset."
    return _parameter(param, sentence, "parameter_invalid_empty")


def not_one_of(param: str, choices: Iterable[object]) -> Problem:
    *others, last = sorted(str(choice) for choice in choices)
    wanted = f"one of {', '.join(others)} or {last}" if others else last
    return _parameter(param, f"Invalid {param}: must be {wanted}")


def invalid(param: str, kind: str, value: object) -> Problem:
    """A value that cannot be read as an integer, a boolean, an array, …: `kind` says as what."""
    code = "parameter_invalid_integer" if kind == "integer" else None
    return _parameter(param, f"Invalid {kind}: {value}", code)


def too_long(param: str, limit: int) -> Problem:
    return _parameter(param, f"Invalid string: {param} must be at most {limit} characters")


def bad_request(param: str | None, message: str, code: str | None = None) -> Problem:
    return Problem(400, message, param=param, code=code)


def no_such(kind: str, identity: str, param: str | None = None) -> Problem:
    """404 for the thing the URL names; 400 for a thing that a parameter names."""
    return Problem(
        400 if param else 404,
        f"No such {kind.split('.')[-1]}: '{identity}'",
        code="resource_missing",
        param=param or "id",
    )


def key_of_other_call(key: str, difference: str) -> Problem:
    sentence = f"Keys for idempotent requests can only be used with the same {difference} they were first used with"
    return Problem(400, f"{sentence}; '{key}' was used for another call.", error_type="idempotency_error")


def key_in_use(key: str) -> Problem:
    sentence = f"There is currently another in-progress request using this Idempotent Key: {key}"
    return Problem(409, sentence, error_type="idempotency_error", code="idempotency_key_in_use")


def too_many_requests() -> Problem:
    return Problem(429, "Request rate limit exceeded.", code="rate_limit")


def broken(status: int = 500) -> Problem:
    return Problem(status, "An unknown error occurred.", error_type="api_error")


def _parameter(param: str, message: str, code: str | None = None) -> Problem:
    return Problem(400, message, code=code, param=param)

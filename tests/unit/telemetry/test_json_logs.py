from __future__ import annotations

import json
import logging

from tollkeeper.telemetry.json_logs import JsonFormatter


def record(**extra: object) -> logging.LogRecord:
    logger = logging.getLogger("tollkeeper.test")
    return logger.makeRecord(logger.name, logging.WARNING, "file.py", 1, "%d waits", (2,), None, extra=extra)


def test_a_record_is_one_line_of_json_with_what_was_given_as_extra() -> None:
    line = json.loads(JsonFormatter().format(record(request_id="abc")))

    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "logger": "tollkeeper.test", "message": "2 waits", "request_id": "abc"}


def test_an_exception_is_told_in_the_same_line() -> None:
    one = record()
    try:
        raise ValueError("broken\nin two")
    except ValueError as error:
        one.exc_info = (type(error), error, error.__traceback__)

    text = JsonFormatter().format(one)

    assert "\n" not in text
    assert "ValueError: broken\nin two" in json.loads(text)["exception"]


def test_what_json_does_not_know_is_told_as_text() -> None:
    assert json.loads(JsonFormatter().format(record(at=complex(1, 2))))["at"] == "(1+2j)"

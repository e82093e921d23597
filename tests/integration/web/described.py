"""Answers of the API, held against the description that the same app gives of them."""

from __future__ import annotations

from typing import Any

import jsonschema
from starlette.testclient import TestClient


def as_described(client: TestClient, answer: Any, path: str, method: str = "get") -> Any:
    """The answer's document; fails where status, media type or content is not what openapi.json says for the path."""
    described = client.get("openapi.json").json()
    responses = described["paths"][path][method]["responses"]
    [(media_type, content)] = responses[str(answer.status_code)]["content"].items()
    assert answer.headers["content-type"] == media_type
    schema = {**content["schema"], "components": described["components"]}
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(answer.json())
    return answer.json()

"""What the customer's API answers, as an OpenAPI document. A test holds every answer against it."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

_INSTANT = {"type": "string", "format": "date-time"}
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_AMOUNT = {"type": "integer", "description": "minor units of the currency, as Stripe counts them"}
_DECIMAL = {"type": "string", "pattern": r"^-?\d+(\.\d+)?$", "description": "minor units, not rounded"}
_QUANTITY = {"oneOf": [{"type": "integer"}, {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"}]}
_STATUS = {"enum": ["draft", "finalized", "paid", "void", "uncollectible"]}


def document(base: str) -> dict[str, Any]:
    """The description of the API that is mounted at `base`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Usage and invoices",
            "version": version("tollkeeper"),
            "description": "What a customer has used and what it costs. Every answer is about the customer who asks.",
        },
        "servers": [{"url": base or "/"}],
        "security": [{"bearer": []}, {"header": []}, {"session": []}],
        "paths": {
            "/api/usage": _get("Where the customer stands in the period of now.", "Usage"),
            "/api/invoices": _get("The customer's invoices, newest period first.", "Invoices", [*_PAGING], bad=True),
            "/api/invoices/{invoice_id}": _get(
                "One invoice, each line explained.", "InvoiceWithLines", [_INVOICE_ID], missing=True
            ),
            "/api/checkout": _post(
                "Begin a subscription: the address of Stripe's page, and the claim to the key that comes of it.",
                _object(plan=_TEXT),
                ("201", _object(url=_TEXT, session_id=_TEXT, claim=_TEXT)),
                {**_ASKED_WRONG, "409": "a subscription runs already, or the plan is not at Stripe"},
            ),
            "/api/checkout/claim": _post(
                "Exchange a paid checkout for its API key, once. Needs no key; `claim` may come as a cookie.",
                {**_object(session_id=_TEXT, claim=_TEXT), "required": ["session_id"]},
                ("200", _object(user_id=_TEXT, plan=_TEXT, api_key=_maybe(_TEXT))),
                {"403": "no such checkout", "409": "not paid yet; try again", "410": "handed over before"},
            ),
            "/api/portal": _post(
                "The address of Stripe's portal for this customer, good for minutes.",
                None,
                ("201", _object(url=_TEXT)),
                {"401": _PROBLEMS["401"], "409": "the portal is not at Stripe"},
            ),
        },
        "components": {"schemas": _SCHEMAS, "securitySchemes": _SECURITY},
    }


def _get(
    summary: str,
    schema: str,
    parameters: list[dict[str, Any]] | None = None,
    *,
    bad: bool = False,
    missing: bool = False,
) -> dict[str, Any]:
    problems = dict(_PROBLEMS)
    if bad:
        problems["400"] = "a parameter is not what was expected"
    if missing:
        problems["404"] = "this customer has no such invoice"
    answers = {"200": _answer("the answer", "application/json", _named(schema)), **_refusals(problems)}
    return {"get": {"summary": summary, "parameters": parameters or [], "responses": dict(sorted(answers.items()))}}


def _post(
    summary: str, body: dict[str, Any] | None, answer: tuple[str, dict[str, Any]], problems: dict[str, str]
) -> dict[str, Any]:
    status, schema = answer
    answers = {status: _answer("the answer", "application/json", schema), **_refusals(problems)}
    asked = (
        {} if body is None else {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}}
    )
    return {"post": {"summary": summary, **asked, "responses": dict(sorted(answers.items()))}}


def _refusals(problems: dict[str, str]) -> dict[str, Any]:
    return {status: _answer(why, "application/problem+json", _named("Problem")) for status, why in problems.items()}


def _answer(description: str, media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _named(schema: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _object(**properties: Any) -> dict[str, Any]:
    """All of it is there, and nothing else is."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _maybe(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_PROBLEMS = {"401": "no customer", "503": "the database does not answer; try again later"}
_ASKED_WRONG = {"400": "the body is not what was expected", "401": _PROBLEMS["401"], "404": "no such plan"}
_PAGING = (
    {"name": "after", "in": "query", "schema": _TEXT, "description": "`next` of the answer before"},
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}},
)
_INVOICE_ID = {"name": "invoice_id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "the customer's API key"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "session": {"type": "apiKey", "in": "cookie", "name": "tollkeeper_session"},
}
_LINE = {
    "position": {"type": "integer", "minimum": 1},
    "kind": {"enum": ["usage", "base_fee", "credit", "late_usage", "adjustment"]},
    "model_id": _maybe(_TEXT),
    "token_type": _maybe(_TEXT),
    "quantity": _QUANTITY,
    "unit_amount_decimal": _DECIMAL,
    "amount": _AMOUNT,
    "description": _TEXT,
    "period_start": _INSTANT,
    "period_end": _INSTANT,
}
_INVOICE = {
    "id": {"type": "string", "format": "uuid"},
    "user_id": _TEXT,
    "period_start": _INSTANT,
    "period_end": _INSTANT,
    "revision": {"type": "integer", "minimum": 1},
    "currency": _TEXT,
    "status": _STATUS,
    "total_amount": _AMOUNT,
    "plan_id": _TEXT,
    "stripe_invoice_id": _maybe(_TEXT),
    "created_at": _INSTANT,
    "finalized_at": _maybe(_INSTANT),
    "paid_at": _maybe(_INSTANT),
}
_SCHEMAS = {
    "Usage": _object(
        user_id=_TEXT,
        status={"enum": ["active", "suspended", "closed"]},
        plan=_object(id=_TEXT, name=_TEXT),
        period_start=_INSTANT,
        period_end=_INSTANT,
        currency=_TEXT,
        requests=_COUNT,
        tokens=_COUNT,
        quota_tokens=_maybe(_COUNT),
        percent_of_quota=_maybe(_COUNT),
        projected_tokens=_COUNT,
        usage_amount=_AMOUNT,
        spend_cap=_maybe(_AMOUNT),
        percent_of_cap=_maybe(_COUNT),
        projected_usage_amount=_maybe(_AMOUNT),
        total_amount=_maybe(_AMOUNT),
        lines=_maybe({"type": "array", "items": {"$ref": "#/components/schemas/Line"}}),
        quantities={"type": "array", "items": {"$ref": "#/components/schemas/Quantity"}},
        grain={"enum": ["day", "month"]},
        days=_maybe({"type": "array", "items": {"$ref": "#/components/schemas/Day"}}),
    ),
    "Quantity": _object(model_id=_TEXT, token_type=_TEXT, quantity=_QUANTITY),
    "Day": _object(start=_INSTANT, requests=_COUNT, tokens=_COUNT, cost_units=_DECIMAL),
    "Line": _object(**_LINE),
    "Invoice": _object(**_INVOICE),
    "Invoices": _object(
        invoices={"type": "array", "items": {"$ref": "#/components/schemas/Invoice"}}, next=_maybe(_TEXT)
    ),
    "ExplainedLine": _object(**_LINE, tier=_maybe({"type": "integer", "minimum": 1}), arithmetic=_TEXT),
    "InvoiceWithLines": _object(
        **_INVOICE, lines={"type": "array", "items": {"$ref": "#/components/schemas/ExplainedLine"}}
    ),
    "Problem": _object(
        type=_TEXT,
        title=_TEXT,
        status={"type": "integer"},
        detail=_TEXT,
        code=_TEXT,
        error=_object(message=_TEXT, type=_TEXT, code=_TEXT),
    ),
}

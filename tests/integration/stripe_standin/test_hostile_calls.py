"""No call, however odd, makes the stand-in itself fail: it is answered, and with a body of Stripe's kind."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message, Scope

from tollkeeper.testing import FrozenClock, StripeStandIn
from tollkeeper.testing.stripe_standin.resources import ROUTES

NAMES = sorted({name for route in ROUTES for name in route.acts_on} | {"expand", "colour", "recurring[meter]"})
VALUES = ["", "0", "1", "-1", "1.5", "inf", "true", "usd", "sum", "tiered", "graduated", "metered", "month", "x" * 600]

names = st.builds("".join, st.tuples(st.sampled_from(NAMES), st.sampled_from(["", "[]", "[0]", "[a]", "[0][up_to]"])))
values = st.sampled_from(VALUES) | st.text(max_size=5).filter(lambda text: text.isprintable())
forms = st.lists(st.tuples(names, values), max_size=6).map(lambda pairs: urlencode(pairs).encode())


@settings(max_examples=150, deadline=None)
@given(route=st.sampled_from(ROUTES), form=forms | st.binary(max_size=40), known=st.booleans())
def test_every_operation_answers_every_form(route: Any, form: bytes, known: bool) -> None:
    standin = StripeStandIn(FrozenClock(datetime(2026, 11, 1, tzinfo=UTC)), seed="hostile")
    identity = _known(standin, route.template) if known else "nobody"
    path = "/".join(identity if part.startswith("{") else part for part in route.template.split("/"))

    status, body = asyncio.run(_call(standin, route.method, path, form))

    assert status in (200, 400, 404, 501)
    assert ("error" in body) == (status != 200)


def _known(standin: StripeStandIn, template: str) -> str:
    """The id of something that a path of this kind can name."""
    period = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
    customer = standin.add_customer()
    if "/meters" in template:
        return standin.add_meter("ai_tokens")
    if "/invoices" in template:
        made = standin.invoice(
            customer=customer, period_start=period[0], period_end=period[1], amount=5, status="draft"
        )
        return str(made["id"])
    return customer


async def _call(standin: StripeStandIn, method: str, path: str, form: bytes) -> tuple[int, dict[str, Any]]:
    in_query = method != "POST"
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": form if in_query else b"",
        "headers": [
            (b"authorization", f"Bearer {standin.api_key}".encode()),
            (b"content-type", b"application/x-www-form-urlencoded"),
        ],
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"" if in_query else form, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await standin.app(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])

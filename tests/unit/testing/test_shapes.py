from __future__ import annotations

import importlib
import pkgutil
from decimal import Decimal
from typing import Any

import pytest
import stripe.params
from stripe.params import CustomerCreateParams, CustomerListParams, CustomerUpdateParams, PriceCreateParams
from stripe.params.billing import MeterCreateParams, MeterEventCreateParams, MeterListParams

from tollkeeper.testing.stripe_standin.forms import Form, read_form
from tollkeeper.testing.stripe_standin.problem import Problem
from tollkeeper.testing.stripe_standin.shapes import UNSET, read_params

METER = b"display_name=Tokens&event_name=ai_tokens&default_aggregation[formula]=sum"
EVENT = b"event_name=ai_tokens&payload[value]=1&payload[stripe_customer_id]=cus_1"


@pytest.mark.parametrize(
    ("encoded", "shape", "params"),
    [
        (b"limit=3", CustomerListParams, {"limit": 3}),
        (b"created=5", CustomerListParams, {"created": 5}),
        (b"created[gte]=5&created[lt]=9", CustomerListParams, {"created": {"gte": 5, "lt": 9}}),
        (b"name=", CustomerUpdateParams, None),
        (b"description=x&metadata[a]=", CustomerCreateParams, {"description": "x", "metadata": {"a": UNSET}}),
        (b"metadata=", CustomerUpdateParams, {"metadata": UNSET}),
        (b"address=", CustomerUpdateParams, {"address": UNSET}),
        (b"tax_exempt=", CustomerUpdateParams, {"tax_exempt": UNSET}),
        (b"tax_exempt=reverse", CustomerUpdateParams, {"tax_exempt": "reverse"}),
        (b"validate=true", CustomerCreateParams, {"validate": True}),
        (b"validate=false", CustomerCreateParams, {"validate": False}),
        (b"preferred_locales[1]=fr&preferred_locales[0]=en", CustomerCreateParams, {"preferred_locales": ["en", "fr"]}),
        (
            b"currency=usd&unit_amount_decimal=0.2",
            PriceCreateParams,
            {"currency": "usd", "unit_amount_decimal": Decimal("0.2")},
        ),
        (
            b"currency=usd&tiers[0][up_to]=100&tiers[1][up_to]=inf",
            PriceCreateParams,
            {"currency": "usd", "tiers": [{"up_to": 100}, {"up_to": "inf"}]},
        ),
    ],
)
def test_parameters_are_read_by_their_types(encoded: bytes, shape: type, params: dict[str, Any] | None) -> None:
    if params is None:
        assert _refusal(read_form(encoded), shape).code == "parameter_invalid_empty"
    else:
        assert read_params(read_form(encoded), shape) == params


@pytest.mark.parametrize(
    ("encoded", "shape", "param", "code"),
    [
        (METER + b"&colour=red", MeterCreateParams, "colour", "parameter_unknown"),
        (
            METER + b"&default_aggregation[window]=1",
            MeterCreateParams,
            "default_aggregation[window]",
            "parameter_unknown",
        ),
        (METER + b"&idempotency_key=x", MeterCreateParams, "idempotency_key", "parameter_unknown"),
        (b"display_name=T&event_name=e", MeterCreateParams, "default_aggregation", "parameter_missing"),
        (
            b"display_name=T&event_name=e&default_aggregation[x]=1",
            MeterCreateParams,
            "default_aggregation[x]",
            "parameter_unknown",
        ),
        (
            METER + b"&customer_mapping[type]=by_id",
            MeterCreateParams,
            "customer_mapping[event_payload_key]",
            "parameter_missing",
        ),
        (METER.replace(b"sum", b"max"), MeterCreateParams, "default_aggregation[formula]", None),
        (METER + b"&event_time_window=week", MeterCreateParams, "event_time_window", None),
        (b"status=gone", MeterListParams, "status", None),
        (b"status=", MeterListParams, "status", None),
        (EVENT + b"&timestamp=1.5", MeterEventCreateParams, "timestamp", "parameter_invalid_integer"),
        (EVENT + b"&timestamp=", MeterEventCreateParams, "timestamp", "parameter_invalid_integer"),
        (EVENT + b"&timestamp=%D9%A1", MeterEventCreateParams, "timestamp", "parameter_invalid_integer"),
        (EVENT + b"&timestamp=1_0", MeterEventCreateParams, "timestamp", "parameter_invalid_integer"),
        (EVENT + b"&timestamp[a]=1", MeterEventCreateParams, "timestamp", None),
        (EVENT + b"&identifier=", MeterEventCreateParams, "identifier", "parameter_invalid_empty"),
        (b"event_name=e&payload=text", MeterEventCreateParams, "payload", None),
        (b"event_name=e&payload[value][deep]=1", MeterEventCreateParams, "payload[value]", None),
        (b"validate=yes", CustomerCreateParams, "validate", None),
        (b"preferred_locales=en", CustomerCreateParams, "preferred_locales", None),
        (b"preferred_locales[first]=en", CustomerCreateParams, "preferred_locales", None),
        (b"created[since]=5", CustomerListParams, "created[since]", "parameter_unknown"),
        (b"created[gte]=soon", CustomerListParams, "created[gte]", "parameter_invalid_integer"),
        (b"currency=usd&unit_amount=0.2", PriceCreateParams, "unit_amount", "parameter_invalid_integer"),
        (b"currency=usd&unit_amount_decimal=1e-5", PriceCreateParams, "unit_amount_decimal", None),
        (b"currency=usd&unit_amount_decimal=0.1234567890123", PriceCreateParams, "unit_amount_decimal", None),
        (b"currency=usd&tiers[0][up_to]=many", PriceCreateParams, "tiers[0][up_to]", "parameter_invalid_integer"),
        (b"currency=usd&recurring[interval]=fortnight", PriceCreateParams, "recurring[interval]", None),
    ],
)
def test_a_parameter_that_stripe_would_refuse_is_refused_by_name(
    encoded: bytes, shape: type, param: str, code: str | None
) -> None:
    refusal = _refusal(read_form(encoded), shape)

    assert (refusal.status, refusal.error_type) == (400, "invalid_request_error")
    assert (refusal.param, refusal.code) == (param, code)


def test_an_enumeration_is_refused_with_its_values() -> None:
    refusal = _refusal(read_form(METER.replace(b"sum", b"max")), MeterCreateParams)

    assert refusal.message.endswith("must be one of count, last or sum")


def test_an_enumeration_of_one_value_is_refused_with_that_value() -> None:
    mapping = b"&customer_mapping[type]=by_name&customer_mapping[event_payload_key]=who"

    assert _refusal(read_form(METER + mapping), MeterCreateParams).message.endswith("must be by_id")


@pytest.mark.parametrize(
    ("encoded", "message"),
    [(b"preferred_locales=en", "Invalid array: en"), (b"address=Paris", "Invalid object: Paris")],
)
def test_a_word_where_more_is_wanted_is_refused_by_what_is_wanted(encoded: bytes, message: str) -> None:
    assert _refusal(read_form(encoded), CustomerCreateParams).message == message


def test_every_request_type_of_the_installed_sdk_can_be_read() -> None:
    unreadable = []
    for shape in _all_request_types():
        try:
            read_params({"no_such_parameter": ""}, shape)
        except Problem as problem:
            if problem.code != "parameter_unknown":
                unreadable.append(shape.__name__)

    assert unreadable == []


def _all_request_types() -> list[type]:
    found = []
    for module in pkgutil.walk_packages(stripe.params.__path__, "stripe.params."):
        members = vars(importlib.import_module(module.name)).values()
        found += [one for one in members if hasattr(one, "__total__") and one.__module__ == module.name]
    assert len(found) > 1000
    return found


def _refusal(form: Form, shape: type) -> Problem:
    with pytest.raises(Problem) as refusal:
        read_params(form, shape)
    return refusal.value

"""The customer portal: what customers may do there, and the short-lived way in."""

from __future__ import annotations

from typing import Any

from stripe.params.billing_portal import (
    ConfigurationCreateParams,
    ConfigurationListParams,
    ConfigurationRetrieveParams,
    ConfigurationUpdateParams,
    SessionCreateParams,
)

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.listing import PAGING, newest_first, page
from tollkeeper.testing.stripe_standin.problem import bad_request, missing_parameter, not_rehearsed
from tollkeeper.testing.stripe_standin.resources.fields import changed
from tollkeeper.testing.stripe_standin.routing import Call, route

CONFIGURATION = "billing_portal.configuration"
_FIELDS = "business_profile default_return_url features metadata name"


def _create(account: Account, call: Call) -> Body:
    return account.keep(
        {
            "id": account.ids.new("bpc"),
            "object": CONFIGURATION,
            "active": True,
            "application": None,
            "business_profile": _profile(call.params.get("business_profile") or {}),
            "created": account.now,
            "default_return_url": call.params.get("default_return_url"),
            "features": _features(call.params["features"]),
            "is_default": False,
            "livemode": False,
            "login_page": {"enabled": False, "url": None},
            "metadata": call.params.get("metadata", {}),
            "name": call.params.get("name"),
            "updated": account.now,
        }
    )


def _profile(asked: dict[str, Any]) -> Body:
    return {"headline": None, "privacy_policy_url": None, "terms_of_service_url": None, **asked}


def _features(asked: dict[str, Any]) -> Body:
    """What is on; a feature that is not named is off."""
    if "subscription_update" in asked and asked["subscription_update"].get("enabled"):
        raise not_rehearsed("the parameter features[subscription_update]")
    cancel = asked.get("subscription_cancel", {"enabled": False})
    return {
        "customer_update": {"allowed_updates": [], "enabled": False} | asked.get("customer_update", {}),
        "invoice_history": asked.get("invoice_history", {"enabled": False}),
        "payment_method_update": {"payment_method_configuration": None, "enabled": False}
        | asked.get("payment_method_update", {}),
        "subscription_cancel": {
            "cancellation_reason": {"enabled": False, "feedback_options": None, "options": []},
            "enabled": cancel["enabled"],
            "mode": cancel.get("mode", "at_period_end"),
            "proration_behavior": "none",
        },
        "subscription_pause": {"duration": {"interval_options": [], "type": "indefinite"}, "enabled": False},
        "subscription_update": {
            "billing_cycle_anchor": None,
            "default_allowed_updates": [],
            "enabled": False,
            "proration_behavior": "none",
            "schedule_at_period_end": {"conditions": []},
            "trial_update_behavior": "end_trial",
        },
    }


def _retrieve(account: Account, call: Call) -> Body:
    return account.get(CONFIGURATION, call.named["configuration"])


def _update(account: Account, call: Call) -> Body:
    configuration = _retrieve(account, call)
    params = dict(call.params)
    if "features" in params:
        configuration["features"] = _features(params.pop("features"))
    if "business_profile" in params:
        configuration["business_profile"] = _profile(params.pop("business_profile"))
    changed(configuration, params)
    configuration["updated"] = account.now
    return configuration


def _list(account: Account, call: Call) -> Body:
    return page(call, newest_first(account.shelf(CONFIGURATION), call, "active"))


def _open(account: Account, call: Call) -> Body:
    """A way in for one customer. The real one asks for a configuration unless the Dashboard has a default."""
    if "customer" not in call.params:
        raise missing_parameter("customer")
    customer = account.get("customer", call.params["customer"], "customer")
    if "configuration" not in call.params:
        raise bad_request("configuration", "No configuration provided and no default configuration was created.")
    configuration = account.get(CONFIGURATION, call.params["configuration"], "configuration")
    identity = account.ids.new("bps")
    return {
        "id": identity,
        "object": "billing_portal.session",
        "configuration": configuration["id"],
        "created": account.now,
        "customer": customer["id"],
        "customer_account": None,
        "flow": None,
        "livemode": False,
        "locale": None,
        "on_behalf_of": None,
        "return_url": call.params.get("return_url") or configuration["default_return_url"],
        "url": f"https://billing.stripe.com/p/session/test_{identity}",
    }


ROUTES = (
    route("POST", "/v1/billing_portal/configurations", _create, ConfigurationCreateParams, _FIELDS),
    route("GET", "/v1/billing_portal/configurations", _list, ConfigurationListParams, f"active {PAGING}"),
    route("GET", "/v1/billing_portal/configurations/{configuration}", _retrieve, ConfigurationRetrieveParams),
    route("POST", "/v1/billing_portal/configurations/{configuration}", _update, ConfigurationUpdateParams, _FIELDS),
    route("POST", "/v1/billing_portal/sessions", _open, SessionCreateParams, "configuration customer return_url"),
)

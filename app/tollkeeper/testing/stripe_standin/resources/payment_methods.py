"""Payment methods: Stripe's test cards, one that always pays and one that is always declined once attached."""

from __future__ import annotations

from stripe.params import PaymentMethodAttachParams, PaymentMethodRetrieveParams

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.problem import missing_parameter, no_such
from tollkeeper.testing.stripe_standin.routing import Call, route

TEST_CARDS = {"pm_card_visa": "4242", "pm_card_chargeCustomerFail": "0341"}
_DECLINED = "0341"


def attach_card(account: Account, card: str, customer: str) -> Body:
    """The card as a customer's own: a test card becomes a new payment method, one of the account's stays what it is."""
    if card not in TEST_CARDS:
        method = account.get("payment_method", card, "payment_method")
        method["customer"] = customer
        return method
    return account.keep(
        {
            "id": account.ids.new("pm"),
            "object": "payment_method",
            "billing_details": {"address": None, "email": None, "name": None, "phone": None, "tax_id": None},
            "card": _card(TEST_CARDS[card]),
            "created": account.now,
            "customer": customer,
            "livemode": False,
            "metadata": {},
            "type": "card",
        }
    )


def pays(account: Account, customer: str) -> bool:
    """Whether the customer's default card lets itself be charged; without one nothing can be."""
    method = account.shelf("customer")[customer]["invoice_settings"]["default_payment_method"]
    return method is not None and account.shelf("payment_method")[method]["card"]["last4"] != _DECLINED


def _card(last4: str) -> Body:
    return {
        "brand": "visa",
        "checks": None,
        "country": "US",
        "display_brand": "visa",
        "exp_month": 12,
        "exp_year": 2034,
        "funding": "credit",
        "generated_from": None,
        "last4": last4,
        "networks": None,
        "regulated_status": "unregulated",
        "three_d_secure_usage": None,
        "wallet": None,
    }


def _attach(account: Account, call: Call) -> Body:
    if "customer" not in call.params:
        raise missing_parameter("customer")
    customer = account.get("customer", call.params["customer"], "customer")
    if customer.get("deleted"):
        raise no_such("customer", customer["id"], "customer")
    return attach_card(account, call.named["payment_method"], customer["id"])


def _retrieve(account: Account, call: Call) -> Body:
    return account.get("payment_method", call.named["payment_method"])


ROUTES = (
    route("POST", "/v1/payment_methods/{payment_method}/attach", _attach, PaymentMethodAttachParams, "customer"),
    route("GET", "/v1/payment_methods/{payment_method}", _retrieve, PaymentMethodRetrieveParams),
)

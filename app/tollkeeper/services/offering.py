"""Offering: what a customer can do at Stripe right now, so that their page leads nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from tollkeeper.domain.customer import validate_user_id
from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.domain.plan import Collect, Plan
from tollkeeper.payments.stripe_selling import StripeSelling
from tollkeeper.services.checking_out import subscription_params
from tollkeeper.storage.customers import Customer, load_customer
from tollkeeper.storage.database import Database
from tollkeeper.storage.plans import list_plans
from tollkeeper.storage.stripe_objects import objects_in_use


@dataclass(frozen=True, slots=True)
class Offers:
    """The plans that the customer may subscribe to, and whether there is a portal of theirs."""

    plans: tuple[Plan, ...] = ()
    portal: bool = False


def offers(database: Database, selling: StripeSelling | None, user_id: str, *, collect: Collect = "meters") -> Offers:
    """What a checkout and the portal would take; nothing where Stripe is not configured. Asks nobody outside."""
    if selling is None:
        return Offers()
    with database.transaction() as connection:
        customer = load_customer(connection, validate_user_id(user_id))
        charged = [one.plan for one in list_plans(connection) if (one.plan.collect or collect) == "meters"]
        plans = [plan for plan in charged if _is_sold(connection, selling.livemode, customer, plan)]
        known = objects_in_use(connection, selling.livemode)
    return Offers(tuple(plans), customer.stripe_customer_id is not None and ("portal", "portal") in known)


def _is_sold(connection: Connection, livemode: bool, customer: Customer, plan: Plan) -> bool:
    try:
        subscription_params(connection, livemode, customer, plan)
    except TollkeeperError:
        return False
    return True

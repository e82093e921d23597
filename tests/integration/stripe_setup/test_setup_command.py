"""`tollkeeper stripe setup` as somebody types it: the plan first, then the deed, and secrets once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from integration.closing.ledger import NOVEMBER, Ledger
from integration.stripe_setup.shop import PRO, URL
from tollkeeper.cli import main
from tollkeeper.runtime import Runtime
from tollkeeper.settings import read_settings
from tollkeeper.testing import FrozenClock, StripeStandIn

Terminal = Callable[..., Result]


@pytest.fixture
def type_in(ledger: Ledger) -> Iterator[Terminal]:
    ledger.plan(PRO)
    standin = StripeStandIn(FrozenClock(NOVEMBER))
    with standin.serve() as server:

        def call(*arguments: str, exit_code: int = 0, **more: Any) -> Result:
            settings = read_settings(
                database_url=ledger.database.url,
                stripe_api_base=server.url,
                **{"stripe_api_key": standin.api_key, "public_url": URL, **more},
            )
            runtime = Runtime(settings, clock=FrozenClock(NOVEMBER))
            result = CliRunner().invoke(main, arguments, obj=runtime, catch_exceptions=False)
            runtime.close()
            assert result.exit_code == exit_code, result.output
            return result

        yield call


def test_it_shows_what_it_would_do_and_does_it_when_it_is_told_to(type_in: Terminal) -> None:
    shown = type_in("stripe", "setup", "--dry-run")
    assert "tollkeeper:pro:ai_tokens" in shown.stdout
    assert "STRIPE_WEBHOOK_SECRET" not in shown.output

    refused = type_in("stripe", "setup", exit_code=2)
    assert refused.stderr.endswith("tollkeeper: nothing was done; add --yes to do it\n")

    done = type_in("stripe", "setup", "--yes")
    *_, secrets = done.stdout.splitlines()
    assert secrets.startswith("STRIPE_WEBHOOK_SECRET=whsec_")
    assert secrets.count("whsec_") == 2

    again = type_in("stripe", "setup", "--yes")
    assert again.stdout.endswith("everything is there\n")
    assert "whsec_" not in again.output


def test_doctor_says_what_is_missing_until_it_is_there(type_in: Terminal) -> None:
    before = type_in("doctor", exit_code=1).stdout  # Redis is not set here
    assert "tollkeeper stripe setup" in before
    type_in("stripe", "setup", "--yes")
    assert "everything that the plans need is there" in type_in("doctor", exit_code=1).stdout


def test_without_a_key_it_says_which_setting_is_missing(type_in: Terminal) -> None:
    refused = type_in("stripe", "setup", exit_code=2, stripe_api_key=None)
    assert refused.stderr == "tollkeeper: STRIPE_API_KEY is not set; it is needed to set Stripe up\n"

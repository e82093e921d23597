"""`python -m tollkeeper.testing.stripe_standin`: the stand-in as a process of its own."""

from __future__ import annotations

from tollkeeper.testing.standin.process import run
from tollkeeper.testing.stripe_standin.standin import API_KEY, StripeStandIn


def main() -> None:
    run(
        "tollkeeper.testing.stripe_standin",
        "A Stripe account in memory.",
        API_KEY,
        lambda clock, api_key: StripeStandIn(clock, api_key=api_key).app,
    )


if __name__ == "__main__":
    main()

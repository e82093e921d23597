"""`python -m tollkeeper.testing.paystack_standin`: the stand-in as a process of its own."""

from __future__ import annotations

from tollkeeper.testing.paystack_standin.standin import SECRET_KEY, PaystackStandIn
from tollkeeper.testing.standin.process import run


def main() -> None:
    run(
        "tollkeeper.testing.paystack_standin",
        "A Paystack integration in memory.",
        SECRET_KEY,
        lambda clock, secret_key: PaystackStandIn(clock, secret_key=secret_key).app,
    )


if __name__ == "__main__":
    main()

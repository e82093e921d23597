"""`python -m tollkeeper.testing.stripe_standin`: the stand-in as a process of its own."""

from __future__ import annotations

import argparse
from pathlib import Path

from tollkeeper.clock import ShiftedClock, SystemClock
from tollkeeper.testing.stripe_standin.server import run_until_stopped
from tollkeeper.testing.stripe_standin.standin import API_KEY, StripeStandIn


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    clock = ShiftedClock(options.clock_file) if options.clock_file else SystemClock()
    standin = StripeStandIn(clock, api_key=options.api_key)
    try:
        run_until_stopped(standin.app, options.host, options.port)
    except OSError as error:
        parser.exit(2, f"cannot listen on {options.host} port {options.port}: {error.strerror}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tollkeeper.testing.stripe_standin",
        description="A Stripe account in memory. The first line of output is its URL.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0, the default, takes a free one")
    parser.add_argument("--clock-file", type=Path, help="file with the number of seconds its clock is ahead")
    parser.add_argument("--api-key", default=API_KEY, help="the key it accepts (%(default)s)")
    return parser


if __name__ == "__main__":
    main()

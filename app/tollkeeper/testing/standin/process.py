"""A stand-in as a process of its own: `python -m …`, whose first line of output is its URL."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from starlette.types import ASGIApp

from tollkeeper.clock import Clock, ShiftedClock, SystemClock
from tollkeeper.testing.standin.server import run_until_stopped


def run(module: str, description: str, api_key: str, make: Callable[[Clock, str], ASGIApp]) -> None:
    """Read the command line, make the stand-in by clock and key, and serve it until told to stop."""
    parser = _parser(module, description, api_key)
    options = parser.parse_args()
    clock = ShiftedClock(options.clock_file) if options.clock_file else SystemClock()
    try:
        run_until_stopped(make(clock, options.api_key), options.host, options.port)
    except OSError as error:
        parser.exit(2, f"cannot listen on {options.host} port {options.port}: {error.strerror}\n")


def _parser(module: str, description: str, api_key: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=f"{description} The first line of output is its URL."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0, the default, takes a free one")
    parser.add_argument("--clock-file", type=Path, help="file with the number of seconds its clock is ahead")
    parser.add_argument("--api-key", default=api_key, help="the key it accepts (%(default)s)")
    return parser

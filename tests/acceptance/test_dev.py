"""`tollkeeper dev` runs everything there is with one log, and ends with Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path


def test_everything_runs_until_ctrl_c_and_nothing_is_left() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    named = ("DATABASE_URL", "REDIS_URL", "TOLLKEEPER_DATABASE_URL", "TOLLKEEPER_REDIS_URL")
    environment = {name: value for name, value in os.environ.items() if name not in named}
    with tempfile.TemporaryDirectory(prefix="tollkeeper-") as folder:
        Path(folder).chmod(0o755)  # as root the servers run as another account, which has to get in
        dev = subprocess.Popen(
            [sys.executable, "-m", "tollkeeper", "dev", "--port", str(port)],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            _wait_until_ready(port)
            dev.send_signal(signal.SIGINT)
            output, _ = dev.communicate(timeout=60)
        finally:
            dev.kill()
        assert dev.returncode == 0, output
        assert re.search(r"^web +http://127\.0\.0\.1:", output, re.MULTILINE)
        assert re.search(r"^worker +.*tollkeeper\.close_due", output, re.MULTILINE)
        assert re.search(r"^beat +.*Starting", output, re.MULTILINE)
        assert sorted(path.name for path in Path(folder).iterdir()) == [".tollkeeper"]


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/billing/readyz", timeout=2):
                break
        except OSError:
            assert time.monotonic() < deadline, "the app does not answer"
            time.sleep(0.2)
    time.sleep(4)  # worker and beat say that they are there a little later

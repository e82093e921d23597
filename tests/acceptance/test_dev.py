"""`tollkeeper dev` runs everything there is with one log, and ends with Ctrl-C."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

from acceptance.dev_process import PATIENCE_SECONDS, dev, environment, open_folder


def test_everything_runs_until_ctrl_c_and_nothing_is_left() -> None:
    with open_folder() as folder, dev(folder) as running:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not re.search(r"^worker .*ready", running.said(), re.MULTILINE):
            assert time.monotonic() < deadline, running.said()
            time.sleep(0.2)
        assert running.stop() == 0, running.said()
        output = running.said()

        assert re.search(r"^web +http://127\.0\.0\.1:", output, re.MULTILINE)
        assert re.search(r"^worker +.*tollkeeper\.close_due", output, re.MULTILINE)
        assert re.search(r"^beat +.*Starting", output, re.MULTILINE)
        assert sorted(path.name for path in folder.iterdir()) == [".tollkeeper", "dev.log"]


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "tollkeeper", "dev", "--port", str(taken.getsockname()[1])]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
        )

    assert done.returncode == 1
    assert re.fullmatch(r"port \d+ is taken by something else; choose another one with --port\n", done.stdout)

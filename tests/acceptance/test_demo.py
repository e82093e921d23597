"""The demo is what the README shows first: it has to come out right, and to notice when it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tollkeeper.demo.evidence import Evidence


def test_the_demo_comes_out_right_leaves_its_evidence_and_leaves_named_servers_alone(tmp_path: Path) -> None:
    real = {"TOLLKEEPER_DATABASE_URL": "postgresql://127.0.0.1:1/real", "TOLLKEEPER_REDIS_URL": "redis://127.0.0.1:1/0"}
    environment = {**os.environ, **real}  # of a business that is running: asking them would fail
    evidence = tmp_path / "evidence.json"

    done = subprocess.run(
        [sys.executable, "-m", "tollkeeper", "demo", "--evidence", str(evidence)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("DEMO OK: ")
    document = json.loads(evidence.read_text())
    assert document["ok"] is True
    assert {"command", "versions", "settings", "began_at", "seconds", "steps"} <= set(document)
    assert all(step["ok"] for step in document["steps"] if "check" in step)
    assert "********" in document["settings"]["database_url"]
    assert not [step for step in document["steps"] if "tk_" in str(step.get("output", ""))]


def test_a_figure_that_differs_fails_the_demo() -> None:
    said: list[str] = []
    evidence = Evidence(say=said.append)

    assert evidence.check("tokens", 5, 5)
    assert not evidence.check("total", 924, 925)

    assert evidence.failed == ["total"]
    assert said[-1] == "  ✗ total: 924, expected 925"

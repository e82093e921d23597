"""docs/tutorial/first-app.md from top to bottom, as a newcomer who types what it says; only the port is another one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from acceptance.dev_process import PATIENCE_SECONDS, dev, environment, open_folder

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial" / "first-app.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_a_newcomer_gets_from_nothing_to_an_invoice() -> None:
    typed = [block for block in blocks("bash") if "tollkeeper dev" not in block and "venv" not in block]
    with open_folder() as folder:
        (folder / "shop.py").write_text(blocks("python")[0])
        (folder / "plans.toml").write_text(blocks("toml")[0])
        with dev(folder, "--app", "shop:app") as running:
            exports = re.findall(r"export \S+", running.said())
            script = "\n".join([*exports, *typed]).replace(":8000", f":{running.port}")
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=folder, env=environment(), capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
            )  # fmt: skip

    assert done.returncode == 0, done.stderr
    [shown] = blocks("text")
    period = re.compile(r"^period .*$", re.MULTILINE)
    assert period.sub("", shown) in period.sub("", done.stdout)
    statuses = re.findall(r"^(200|402)$", done.stdout, re.MULTILINE)
    assert statuses == ["200"] * 4 + ["402"] * 4, "5 answers of 1.6 cents, and then 12.3 cents more do not fit below 20"
    assert '"code": "spend_cap_reached"' in done.stdout
    assert re.search(r"alice .* draft +\$0\.08$", done.stdout, re.MULTILINE)

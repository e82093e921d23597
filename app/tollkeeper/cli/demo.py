"""`tollkeeper demo`: the whole path on embedded services, checked."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from tollkeeper.domain.errors import TollkeeperError


@click.command()
@click.option("--evidence", "file", type=click.Path(dir_okay=False, path_type=Path), help="Save what ran and came out.")
def demo(file: Path | None) -> None:
    """Run the whole path once, on servers of its own, and compare every figure with one worked out by hand."""
    try:
        from tollkeeper.demo.evidence import Evidence
        from tollkeeper.demo.story import tell
    except ImportError as error:
        raise click.UsageError(f"{error.name} is missing: pip install 'tollkeeper[demo]'") from error

    if file is not None and not file.parent.is_dir():
        raise click.UsageError(f"--evidence: there is no folder {file.parent}")
    began = time.monotonic()
    evidence = Evidence(say=lambda text: click.echo(text))
    trouble = None
    try:
        tell(evidence)
    except Exception as error:
        trouble = str(error) if isinstance(error, TollkeeperError) else f"{type(error).__name__}: {error}"
        evidence.steps.append({"check": "the run", "ok": False, "expected": "no failure", "actual": trouble})
    seconds = round(time.monotonic() - began, 1)
    evidence.facts["seconds"] = seconds
    if file is not None:
        evidence.save(file)
    if trouble is not None:
        click.echo(trouble, err=True)
    if evidence.failed:
        click.echo(f"\nDEMO FAILED: {', '.join(evidence.failed)} ({seconds} s)")
        sys.exit(1)
    click.echo(f"\nDEMO OK: {evidence.checks} checks, from request to paid invoice, in {seconds} s")

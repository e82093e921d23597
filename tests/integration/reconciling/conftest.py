from __future__ import annotations

from integration.closing.shared import ledger, shared_database
from integration.reporting.conftest import clock, reporting

__all__ = ["clock", "ledger", "reporting", "shared_database"]

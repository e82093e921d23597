from __future__ import annotations

from integration.closing.shared import ledger, shared_database

__all__ = ["ledger", "shared_database"]

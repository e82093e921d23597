from __future__ import annotations

from integration.closing.shared import ledger, shared_database
from integration.mail.conftest import start_inbox

__all__ = ["ledger", "shared_database", "start_inbox"]

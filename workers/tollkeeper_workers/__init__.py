"""The Celery side of tollkeeper: sweepers that look for what is due, and a schedule that wakes them.

`celery -A tollkeeper_workers worker` and `… beat` run as they are. A host that has a Celery app of its own calls
`install(celery_app)` instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tollkeeper_workers.installing import install

if TYPE_CHECKING:
    from tollkeeper_workers.celery import app

__all__ = ["app", "install"]


def __getattr__(name: str) -> Any:
    # The ready app reads the environment, which a host that only calls `install` need not have set up for it.
    if name == "app":
        from tollkeeper_workers.celery import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

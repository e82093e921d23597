"""What a host app mounts under `/billing`: webhooks in, health."""

from __future__ import annotations

from tollkeeper.web.routes import billing_routes

__all__ = ["billing_routes"]

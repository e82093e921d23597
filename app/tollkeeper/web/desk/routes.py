"""Where the desk's pages and forms are."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from tollkeeper.web.desk.deeds import DeskDeeds
from tollkeeper.web.desk.pages import DeskPages


def desk_routes(pages: DeskPages, deeds: DeskDeeds) -> list[BaseRoute]:
    """Everything under `/admin`."""
    shown = {
        "/admin/": pages.overview,
        "/admin/customers": pages.customers,
        "/admin/customer": pages.customer,
        "/admin/invoices": pages.invoices,
        "/admin/invoices/{invoice_id}": pages.invoice,
        "/admin/parked": pages.parked,
        "/admin/reports": pages.reports,
        "/admin/webhooks": pages.webhooks,
        "/admin/notices": pages.notices,
        "/admin/audit": pages.audit,
        "/admin/health": pages.health,
    }
    done = {
        "/admin/sign-in": deeds.sign_in,
        "/admin/sign-out": deeds.sign_out,
        "/admin/refresh": deeds.refresh,
        "/admin/invoices/{invoice_id}/approve": deeds.approve,
        "/admin/invoices/{invoice_id}/void": deeds.void,
        "/admin/invoices/{invoice_id}/redraft": deeds.redraft,
        "/admin/parked/release": deeds.release,
    }
    return [
        *(Route(path, page) for path, page in shown.items()),
        *(Route(path, deed, methods=["POST"]) for path, deed in done.items()),
    ]

"""The pages in a real Chromium: people click through them, in both themes, on a phone, by keyboard and without scripts."""

from __future__ import annotations

import csv
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from browser.conftest import Open, Site, sign_in, sign_in_at_the_desk


def invoice_of(site: Site, user_id: str, status: str) -> str:
    rows = site.ledger.rows(
        "SELECT id FROM invoices WHERE user_id = :user AND status = :status ORDER BY period_start DESC LIMIT 1",
        user=user_id,
        status=status,
    )
    return str(rows[0]["id"])


def test_a_customer_signs_in_reads_looks_at_an_invoice_and_leaves(open_page: Open, site: Site) -> None:
    page = open_page()
    page.goto(f"{site.address}/")
    page.get_by_label("API key").fill("tk_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("This is no key of ours, or it was revoked.")
    sign_in(page, site)
    assert site.keys["acme-robotics"] not in page.url
    expect(page.get_by_role("img", name="Tokens against the allowance")).to_be_visible()

    page.get_by_text("Figures by day").click()
    expect(page.get_by_role("rowheader", name="20 Nov")).to_be_visible()
    page.get_by_role("link", name="1 Oct 2026 – 31 Oct 2026").click()
    expect(page.get_by_role("heading", name="Invoice paid")).to_be_visible()
    expect(page.get_by_text("at $4.00 per 1,000,000 (tier 1, to 20,000,000)")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="The events behind it (CSV)").click()
    with Path(download.value.path()).open(newline="") as file:
        events = list(csv.DictReader(file))
    assert {row["timestamp"][:7] for row in events} == {"2026-10"}

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.go_back()
    expect(page.get_by_label("API key")).to_be_visible()  # nothing of the account is kept by the browser


def test_the_keyboard_reaches_everything_from_the_top(open_page: Open, site: Site) -> None:
    page = open_page()
    sign_in(page, site)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("summary", has_text="Figures by day")).to_be_focused()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("rowheader", name="20 Nov")).to_be_visible()


def test_pages_work_without_scripts(open_page: Open, site: Site) -> None:
    page = open_page(scripts=False)
    sign_in(page, site)
    expect(page.get_by_role("heading", name="Invoice so far")).to_be_visible()
    page.get_by_role("link", name="Invoices", exact=True).click()
    expect(page.get_by_role("row")).to_have_count(7)  # May to October, and the header


def test_an_operator_finds_a_customer_voids_a_draft_and_releases_a_period(open_page: Open, site: Site) -> None:
    page = open_page()
    sign_in_at_the_desk(page, site)
    expect(page.get_by_role("row", name="blue-heron-labs pro 83 % $100.28 $120.00")).to_be_visible()

    page.get_by_role("link", name="Customers", exact=True).click()
    page.get_by_label("Part of a name").fill("STARTUP")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="tiny-startup").click()
    page.get_by_role("link", name="1 Oct 2026 – 31 Oct 2026").click()
    page.get_by_label("Reason").fill("a present")
    page.get_by_role("button", name="Void").click()
    expect(page.get_by_role("status")).to_have_text("The draft is void.")

    page.get_by_role("link", name="Parked").click()
    page.get_by_label("Reason").fill("looked at")
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_role("status")).to_have_text("The period is released; the next close takes it up.")

    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("row", name="invoice.void").first).to_contain_text("Grace")
    assert len(site.ledger.rows("SELECT FROM invoices WHERE user_id = 'tiny-startup' AND status = 'void'")) == 1


def check(page: Page, address: str) -> None:
    """Nothing that axe finds wrong, and nothing that sticks out sideways."""
    page.goto(address)
    for summary in page.locator("summary").all():
        if summary.is_visible():
            summary.click()
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == [], address
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), address


def test_the_pages_that_people_see_most_are_accessible_in_the_light(open_page: Open, site: Site) -> None:
    page = open_page()
    check(page, f"{site.address}/")
    sign_in(page, site)
    for path in ("", f"invoices/{invoice_of(site, 'acme-robotics', 'paid')}"):
        check(page, f"{site.address}/{path}")
    sign_in_at_the_desk(page, site)
    for path in ("", f"invoices/{invoice_of(site, 'northwind', 'draft')}"):
        check(page, f"{site.address}/admin/{path}")


def test_every_page_is_accessible_in_the_dark_and_fits_a_phone(open_page: Open, site: Site) -> None:
    page = open_page(theme="dark", width=375)
    check(page, f"{site.address}/admin/")
    sign_in(page, site)
    for path in ("", "invoices", f"invoices/{invoice_of(site, 'acme-robotics', 'paid')}"):
        check(page, f"{site.address}/{path}")
    sign_in_at_the_desk(page, site)
    draft = invoice_of(site, "northwind", "draft")
    for path in ("", "customers", "customer?user=acme-robotics", "invoices", f"invoices/{draft}", "parked", "reports",
                 "webhooks", "notices", "audit", "health"):  # fmt: skip
        check(page, f"{site.address}/admin/{path}")


def test_the_dark_theme_is_dark(open_page: Open, site: Site) -> None:
    shades = []
    for theme in ("light", "dark"):
        page = open_page(theme=theme)
        page.goto(f"{site.address}/")
        shades.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert shades == ["rgb(245, 246, 248)", "rgb(14, 16, 20)"]

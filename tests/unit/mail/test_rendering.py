"""What the notices say."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.mail.errors import MailTemplateBroken
from tollkeeper.mail.message import Mail
from tollkeeper.mail.rendering import (
    render_invoice,
    render_payment_failed,
    render_quota_alert,
    render_spend_cap_alert,
)

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
HOSTILE = '<script>alert("1")</script>\r\nBcc: eve@example.net\u202e & {{ 7 * 7 }}'


def quota_alert(**changes: Any) -> Mail:
    facts: dict[str, Any] = {
        "user_id": "acct_7f3a",
        "email": "ada@example.com",
        "plan_name": "Pro",
        "threshold": 80,
        "used_tokens": 412_345,
        "quota_tokens": 500_000,
        "period_start": NOVEMBER,
        "period_end": DECEMBER,
        "spent": 1_234,
        "spend_cap": 250_00,
        "currency": "usd",
        "upgrade_url": "https://app.example.com/plans?from=mail&to=max",
        "usage_url": "https://app.example.com/usage",
    }
    return render_quota_alert(**(facts | changes))


def spend_cap_alert(**changes: Any) -> Mail:
    facts: dict[str, Any] = {
        "reached": True,
        "user_id": "acct_7f3a",
        "email": "ada@example.com",
        "plan_name": "Pro",
        "at_cap": "block",
        "spent": 249_99,
        "spend_cap": 250_00,
        "currency": "usd",
        "period_start": NOVEMBER,
        "period_end": DECEMBER,
        "upgrade_url": "https://app.example.com/plans",
        "usage_url": "https://app.example.com/usage",
    }
    return render_spend_cap_alert(**(facts | changes))


def invoice(**changes: Any) -> Mail:
    facts: dict[str, Any] = {
        "finalized": False,
        "user_id": "acct_7f3a",
        "email": "ada@example.com",
        "invoice_id": "inv_42",
        "lines": [("Base fee", 99_00), ("gpt-4o*, input", 1_234), ("Credit", -500)],
        "total_amount": 106_34,
        "currency": "usd",
        "period_start": NOVEMBER,
        "period_end": DECEMBER,
        "invoice_url": "https://app.example.com/invoices/42",
    }
    return render_invoice(**(facts | changes))


def payment_failed(**changes: Any) -> Mail:
    facts: dict[str, Any] = {
        "user_id": "acct_7f3a",
        "email": "ada@example.com",
        "invoice_id": "inv_42",
        "attempt": 1,
        "total_amount": 106_34,
        "currency": "usd",
        "next_attempt_at": datetime(2026, 12, 4, 9, 30, tzinfo=UTC),
        "payment_url": "https://pay.example.com/42",
    }
    return render_payment_failed(**(facts | changes))


EVERY_NOTICE: dict[str, Callable[[], Mail]] = {
    "quota 50": lambda: quota_alert(threshold=50, used_tokens=250_000),
    "quota 80": quota_alert,
    "quota 100": lambda: quota_alert(threshold=100, used_tokens=512_345),
    "quota, nothing known": lambda: quota_alert(spent=None, spend_cap=None, upgrade_url=None, usage_url=None),
    "cap near": lambda: spend_cap_alert(reached=False, at_cap="throttle"),
    "cap reached": spend_cap_alert,
    "cap is a notice": lambda: spend_cap_alert(at_cap="warn", upgrade_url=None, usage_url=None),
    "draft ready": invoice,
    "draft without lines": lambda: invoice(lines=[], total_amount=0, invoice_url=None),
    "finalized": lambda: invoice(finalized=True),
    "payment failed": payment_failed,
    "payment failed for good": lambda: payment_failed(attempt=4, next_attempt_at=None, payment_url=None),
}


class Page(HTMLParser):
    """The words a reader sees, the addresses behind the links, and the tags with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.words = ""
        self._shown = True
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._shown = tag != "title"

    def handle_endtag(self, tag: str) -> None:
        self._shown = True

    def handle_data(self, data: str) -> None:
        self.words += data if self._shown else ""

    @property
    def links(self) -> list[str | None]:
        return [attributes["href"] for _, attributes in self.tags if "href" in attributes]


def figures(words: str) -> set[str]:
    """Every number in the words, with what groups and parts its digits."""
    return set(re.findall(r"\d(?:[\d,.:]*\d)?", words))


@pytest.fixture(params=EVERY_NOTICE)
def notice(request: pytest.FixtureRequest) -> Mail:
    return EVERY_NOTICE[request.param]()


@pytest.mark.parametrize(
    ("threshold", "subject"),
    [
        (50, "You have used 50 % of your quota of 500,000 tokens"),
        (80, "You have used 80 % of your quota of 500,000 tokens"),
        (100, "You have used 100 % of your quota of 500,000 tokens"),
    ],
)
def test_the_threshold_stands_in_the_subject_whatever_the_usage_is(threshold: int, subject: str) -> None:
    assert quota_alert(threshold=threshold, used_tokens=499_999).subject == subject


def test_the_quota_notice_says_how_much_is_used_left_and_charged_and_when_it_starts_afresh() -> None:
    mail = quota_alert()
    for words in (mail.text, Page(mail.html).words):
        # 412,345 * 100 / 500,000 = 82.469; 500,000 - 412,345 = 87,655
        assert "412,345 of 500,000 (82 %)" in words
        assert "87,655 of" in words
        assert "$12.34 so far" in words
        assert "$250.00" in words
        assert "1 November 2026 to 30 November 2026 (UTC)" in words
        assert "1 December 2026, 00:00 UTC" in words
        assert "acct_7f3a" in words


def test_a_period_that_begins_inside_a_day_is_told_with_its_hours_in_utc() -> None:
    start = datetime(2026, 11, 15, 15, 30, tzinfo=timezone(timedelta(hours=2)))
    mail = quota_alert(period_start=start, period_end=start + timedelta(days=30))
    assert "15 November 2026, 13:30 UTC to 15 December 2026, 13:30 UTC" in mail.text


def test_a_time_without_an_offset_is_refused() -> None:
    with pytest.raises(InvalidInput, match="period_start"):
        quota_alert(period_start=datetime(2026, 11, 1))


def test_both_parts_of_every_notice_state_the_same_figures(notice: Mail) -> None:
    assert figures(Page(notice.html).words) == figures(notice.subject + notice.text)
    assert figures(notice.text)


def test_both_parts_of_every_notice_lead_to_the_same_addresses(notice: Mail) -> None:
    assert set(Page(notice.html).links) == set(re.findall(r"https?://\S+", notice.text))


def test_nothing_in_a_notice_is_left_unrendered(notice: Mail) -> None:
    for part in (notice.subject, notice.text, notice.html):
        assert not re.search(r"\{\{|\}\}|\{%|%\}|\{#|\bNone\b|Undefined|\bTrue\b|\bFalse\b|<built-in", part)
    assert "\n\n\n" not in notice.text
    assert not re.search(r"^.*[^-] $", notice.text, re.MULTILINE)


def test_the_html_brings_nothing_from_outside_and_has_inline_styles_only(notice: Mail) -> None:
    for tag, attributes in Page(notice.html).tags:
        assert tag not in {"style", "script", "link", "img", "iframe", "object", "base", "form"}
        assert not {"src", "srcset", "background", "class"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
        assert "url(" not in (attributes.get("style") or "")


def test_text_colours_are_left_to_the_readers_scheme_except_on_a_coloured_ground(notice: Mail) -> None:
    for _, attributes in Page(notice.html).tags:
        style = dict(re.findall(r"(?:^|; )([a-z-]+): ([^;]+)", attributes.get("style") or ""))
        assert style.get("color") in {None, "inherit", "#ffffff"}
    assert '<meta name="color-scheme" content="light dark">' in notice.html


@pytest.mark.parametrize(
    "render",
    [
        lambda: quota_alert(user_id=HOSTILE, plan_name=HOSTILE),
        lambda: spend_cap_alert(user_id=HOSTILE, plan_name=HOSTILE),
        lambda: spend_cap_alert(user_id=HOSTILE, plan_name=HOSTILE, reached=False),
        lambda: invoice(user_id=HOSTILE, invoice_id=HOSTILE, lines=[(HOSTILE, 106_34)]),
        lambda: invoice(user_id=HOSTILE, invoice_id=HOSTILE, lines=[(HOSTILE, 106_34)], finalized=True),
        lambda: payment_failed(user_id=HOSTILE, invoice_id=HOSTILE),
    ],
)
def test_hostile_names_stay_words(render: Callable[[], Mail]) -> None:
    mail = render()
    tags = [tag for tag, _ in Page(mail.html).tags]
    as_words = '<script>alert("1")</script> Bcc: eve@example.net & {{ 7 * 7 }}'
    assert "script" not in tags
    assert as_words in Page(mail.html).words
    assert as_words in mail.text
    assert not re.search(r"^\s*Bcc", mail.text, re.MULTILINE)
    assert "\u202e" not in mail.text + mail.html
    assert mail.subject.isprintable()


def test_an_address_with_two_parameters_is_escaped_in_html_and_plain_in_text() -> None:
    mail = quota_alert()
    assert "https://app.example.com/plans?from=mail&to=max" in mail.text
    assert 'href="https://app.example.com/plans?from=mail&amp;to=max"' in mail.html


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "https://",
        "//example.com",
        "",
        "https://a.example/\nx",
        "https://[::1",
    ],
)
def test_a_link_that_is_no_web_address_is_refused_by_name(url: str) -> None:
    with pytest.raises(InvalidInput, match="upgrade_url"):
        quota_alert(upgrade_url=url)


@pytest.mark.parametrize(
    "address", ["", "grace", "a@example.com, b@example.com", "a@example.com\nBcc: b@example.com", "a\x00@example.com"]
)
def test_anything_but_one_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        quota_alert(email=address)
    assert not address or address not in str(refused.value)


@pytest.mark.parametrize("threshold", [0, 79, 90, 101])
def test_a_threshold_that_has_no_notice_is_refused(threshold: int) -> None:
    with pytest.raises(InvalidInput, match="threshold"):
        quota_alert(threshold=threshold)


def test_a_quota_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="quota_tokens"):
        quota_alert(quota_tokens=0)


def test_the_same_crossing_has_the_same_id_however_often_and_with_whatever_usage_it_is_told() -> None:
    in_another_zone = NOVEMBER.astimezone(timezone(timedelta(hours=5, minutes=30)))
    repeated = quota_alert(used_tokens=498_000, spent=2_000, period_start=in_another_zone, plan_name="Pro (new)")
    assert repeated.message_id == quota_alert().message_id


def test_another_user_period_threshold_or_quota_has_another_id() -> None:
    others = [
        quota_alert(),
        quota_alert(user_id="acct_7f3b"),
        quota_alert(threshold=100),
        quota_alert(quota_tokens=1_000_000),
        quota_alert(period_start=NOVEMBER - timedelta(days=31)),
    ]
    assert len({mail.message_id for mail in others}) == len(others)


def test_each_notice_about_one_invoice_or_cap_has_its_own_id() -> None:
    notices = [
        spend_cap_alert(),
        spend_cap_alert(reached=False),
        spend_cap_alert(spend_cap=300_00),
        invoice(),
        invoice(finalized=True),
        invoice(total_amount=200_00),
        payment_failed(),
        payment_failed(attempt=2),
    ]
    assert len({mail.message_id for mail in notices}) == len(notices)


def test_ids_give_away_neither_user_nor_address(notice: Mail) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", notice.message_id)


@pytest.mark.parametrize(
    ("at_cap", "promise"),
    [
        ("block", "refused until the period ends on 1 December 2026, 00:00 UTC"),
        ("throttle", "slowed down until the period ends on 1 December 2026, 00:00 UTC"),
        ("warn", "keep working and are charged as usual"),
    ],
)
@pytest.mark.parametrize("reached", [True, False])
def test_a_spend_cap_notice_says_what_happens_at_the_cap(at_cap: str, promise: str, reached: bool) -> None:
    mail = spend_cap_alert(at_cap=at_cap, reached=reached)
    assert promise in mail.text
    assert promise in Page(mail.html).words


def test_money_is_told_in_the_units_of_its_currency() -> None:
    assert "¥1,234 so far" in quota_alert(spent=1_234, currency="jpy").text
    assert "KWD 1.230" in spend_cap_alert(spend_cap=1_230, currency="kwd").subject


def test_an_invoice_lists_its_lines_in_order_with_the_total_last() -> None:
    words = Page(invoice().html).words
    amounts = re.findall(r"-?\$[\d.]+", words)
    assert amounts == ["$99.00", "$12.34", "-$5.00", "$106.34"]
    assert re.findall(r"-?\$[\d.]+", invoice().text) == amounts


def test_a_template_of_the_operators_own_replaces_one_part_and_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "quota_alert.txt").write_text(
        "Subject: {{ threshold }} % verbraucht\n\n{{ used_tokens | grouped }}, {{ spent | money(currency) }}\n"
    )
    mail = quota_alert(templates_dir=tmp_path)
    assert mail.subject == "80 % verbraucht"
    assert mail.text == "412,345, $12.34\n"
    assert "412,345 of 500,000" in mail.html
    assert quota_alert().subject != mail.subject


def test_html_of_the_operators_own_is_escaped_like_ours(tmp_path: Path) -> None:
    (tmp_path / "quota_alert.html").write_text("<p>{{ plan_name }}</p>")
    assert quota_alert(templates_dir=tmp_path, plan_name="<b>&").html == "<p>&lt;b&gt;&amp;</p>"


@pytest.mark.parametrize(
    "template",
    [
        "Subject: x\n{{ ammount }}",
        "Subject: x\n{{ plan_name.nothing }}",
        "Subject: x\n{% if %}",
        "Subject: x\n{% include '../../etc/passwd' %}",
        "Subject: x\n{{ 1 / 0 }}",
        "Subject: x\n{{ plan_name + 1 }}",
        "Subject: x\n{{ plan_name.__class__.__mro__ }}",
        "Subject: x\n{{ ''.__class__.__base__.__subclasses__() }}",
        "Subject: x\n{{ cycler.__init__.__globals__ }}",
        "Subject: x\n{{ '%s' | attr('__class__') }}",
        "Subject: x\n{{ range(100000000) | list }}",
        "Subject:  \nno subject",
        "no subject at all",
        "",
    ],
)
def test_a_broken_or_prying_template_is_refused_by_name_without_telling_customers_data(
    tmp_path: Path, template: str
) -> None:
    (tmp_path / "quota_alert.txt").write_text(template)
    with pytest.raises(MailTemplateBroken, match=r"quota_alert\.txt") as broken:
        quota_alert(templates_dir=tmp_path, plan_name="Secret plan")
    assert "Secret plan" not in str(broken.value)
    assert not broken.value.transient


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="templates_dir"):
        quota_alert(templates_dir=tmp_path / "nowhere")

"""From settings to everything wired: the only place that chooses which outside thing serves which need."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from tollkeeper.clock import Clock
from tollkeeper.settings import Settings, read_settings
from tollkeeper.storage.database import Database

if TYPE_CHECKING:
    from tollkeeper.mail.smtp import SmtpSender
    from tollkeeper.notify.webhook import WebhookSender
    from tollkeeper.payments.collector import InvoiceCollector
    from tollkeeper.payments.paystack import PaystackPayments
    from tollkeeper.payments.stripe import StripePayments
    from tollkeeper.payments.stripe_selling import StripeSelling
    from tollkeeper.services.collecting import Collectors
    from tollkeeper.services.mailing import MailChannel
    from tollkeeper.services.posting import SlackChannel, WebhookChannel
    from tollkeeper.services.subscribing import PaymentSide
    from tollkeeper.storage.collections import CollectorName
    from tollkeeper.storage.notices import Audience


class Runtime:
    """What one process works with. Everything is built when first asked for, so a process pays for what it uses."""

    def __init__(self, settings: Settings | None = None, *, clock: Clock | None = None) -> None:
        self.settings = settings if settings is not None else read_settings()
        self.clock = clock if clock is not None else self.settings.clock()

    @cached_property
    def database(self) -> Database:
        """PostgreSQL; `SettingMissing` where no URL is set."""
        return Database(self.settings.need_database_url(), self.settings.db_schema)

    @cached_property
    def stripe(self) -> StripePayments | None:
        """Stripe, or None where no key is set."""
        from tollkeeper.payments.stripe import StripePayments

        key = self.settings.stripe_api_key
        if key is None:
            return None
        return StripePayments(key.get_secret_value(), api_base=self.settings.stripe_api_base)

    @cached_property
    def selling(self) -> StripeSelling | None:
        """Stripe as the place where customers subscribe, or None where no key is set."""
        from tollkeeper.payments.stripe_selling import StripeSelling

        return None if self.stripe is None else StripeSelling(self.stripe)

    @property
    def payment_side(self) -> PaymentSide:
        """What the deeds about subscriptions need besides the database."""
        from tollkeeper.services.subscribing import PaymentSide

        settings = self.settings
        grace = timedelta(days=settings.unpaid_grace_days)
        return PaymentSide(self.selling, default_plan=settings.default_plan, grace=grace)

    @cached_property
    def paystack(self) -> PaystackPayments | None:
        """Paystack, or None where no key is set."""
        from tollkeeper.payments.paystack import PaystackPayments

        key = self.settings.paystack_secret_key
        if key is None:
            return None
        return PaystackPayments(key.get_secret_value(), api_base=self.settings.paystack_api_base)

    @cached_property
    def collectors(self) -> Collectors:
        """Who can collect invoices that we price ourselves: those whose key is set."""
        from tollkeeper.payments.paystack_invoices import PaystackInvoices
        from tollkeeper.payments.stripe_invoices import StripeInvoices, StripeItems
        from tollkeeper.services.authorizing import cards_of

        found: dict[CollectorName, InvoiceCollector] = {}
        if self.stripe is not None:
            found |= {"stripe": StripeInvoices(self.stripe), "stripe_items": StripeItems(self.stripe)}
        if self.paystack is not None:
            found["paystack"] = PaystackInvoices(self.paystack, cards_of(self.database))
        return found

    @cached_property
    def mail(self) -> SmtpSender | None:
        """The mail server, or None where none is set."""
        from tollkeeper.mail.smtp import SmtpSender

        settings = self.settings
        if settings.smtp_url is None or settings.mail_from is None:
            return None
        return SmtpSender(settings.smtp_url.get_secret_value(), settings.mail_from, clock=self.clock)

    @property
    def audience(self) -> Audience:
        """Who is told of what, besides the endpoints of webhooks."""
        from tollkeeper.storage.notices import Audience

        room = self.settings.slack_webhook_url
        return Audience(
            self.settings.kinds_for("customer"), () if room is None else self.settings.kinds_for("operator")
        )

    @cached_property
    def mail_channel(self) -> MailChannel | None:
        """Notices by mail, or None where no mail server is set."""
        from tollkeeper.services.mailing import MailChannel

        if self.mail is None:
            return None
        return MailChannel(self.mail, templates_dir=self.settings.mail_templates_dir)

    @cached_property
    def slack_channel(self) -> SlackChannel:
        """Notices in Slack: the operator's room, where one is set, and those of customers."""
        from tollkeeper.notify.post import Poster
        from tollkeeper.notify.slack import SlackSender
        from tollkeeper.services.posting import SlackChannel

        room, api_base = self.settings.slack_webhook_url, self.settings.slack_api_base
        sender = SlackSender(Poster(allow_loopback=api_base is not None), api_base=api_base)
        return SlackChannel(sender, None if room is None else room.get_secret_value())

    @cached_property
    def webhook_sender(self) -> WebhookSender:
        """What calls endpoints."""
        from tollkeeper.notify.post import Poster
        from tollkeeper.notify.webhook import WebhookSender

        return WebhookSender(Poster(allow_loopback=self.settings.hooks_allow_loopback))

    @property
    def webhook_channel(self) -> WebhookChannel:
        """Notices as calls of endpoints."""
        from tollkeeper.services.posting import WebhookChannel

        return WebhookChannel(self.webhook_sender)

    def close(self) -> None:
        """Give back what was opened; the runtime can be used again afterwards."""
        opened = self.__dict__.pop("database", None)
        if opened is not None:
            opened.close()
        for name in (
            "stripe",
            "selling",
            "paystack",
            "collectors",
            "mail",
            "mail_channel",
            "slack_channel",
            "webhook_sender",
        ):
            self.__dict__.pop(name, None)

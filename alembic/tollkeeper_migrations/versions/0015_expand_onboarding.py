"""Expand: what stands at Stripe, who subscribed there and how, what was not paid, and what that leaves a customer.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_STATEMENTS = """
CREATE TABLE stripe_objects (
    livemode boolean NOT NULL,
    kind text NOT NULL CHECK (kind IN ('meter', 'product', 'price', 'portal', 'webhook', 'thin_webhook')),
    stripe_id text NOT NULL CHECK (octet_length(stripe_id) BETWEEN 1 AND 255),
    key text NOT NULL,
    plan_id text REFERENCES plans,
    fingerprint text NOT NULL,
    active boolean NOT NULL DEFAULT true,
    found_at timestamptz NOT NULL,
    PRIMARY KEY (livemode, kind, stripe_id)
);
CREATE UNIQUE INDEX stripe_objects_in_use ON stripe_objects (livemode, kind, key) WHERE active;
COMMENT ON TABLE stripe_objects IS 'what setup found or made at Stripe; those that were replaced stay, subscriptions still name them';

CREATE TABLE stripe_links (
    user_id text PRIMARY KEY REFERENCES customers,
    email text,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sending', 'linked', 'refused')),
    key_attempt integer NOT NULL DEFAULT 1,
    attempts integer NOT NULL DEFAULT 0,
    first_sent_at timestamptz,
    next_attempt_at timestamptz NOT NULL,
    last_error text,
    created_at timestamptz NOT NULL
);
CREATE INDEX stripe_links_due ON stripe_links (next_attempt_at) WHERE state IN ('pending', 'sending');
COMMENT ON TABLE stripe_links IS
    'customers to be made at Stripe, each once; the address is frozen, so that every attempt says the same';

CREATE TABLE checkouts (
    id uuid PRIMARY KEY,
    user_id text NOT NULL REFERENCES customers,
    plan_id text NOT NULL REFERENCES plans,
    session_id text UNIQUE CHECK (octet_length(session_id) BETWEEN 1 AND 255),
    claim_hash bytea NOT NULL CHECK (octet_length(claim_hash) = 32),
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'granted', 'failed', 'expired')),
    subscription_id text,
    created_at timestamptz NOT NULL,
    granted_at timestamptz,
    claimed_at timestamptz
);
CREATE INDEX checkouts_user_id ON checkouts (user_id);
COMMENT ON COLUMN checkouts.claimed_at IS 'when the one API key of this checkout was handed over';

CREATE TABLE subscriptions (
    id text PRIMARY KEY CHECK (octet_length(id) BETWEEN 1 AND 255),
    user_id text NOT NULL REFERENCES customers,
    plan_id text REFERENCES plans,
    status text NOT NULL,
    period_start timestamptz,
    period_end timestamptz,
    cancel_at_period_end boolean NOT NULL DEFAULT false,
    first_fee_item text,
    started_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX subscriptions_user_id ON subscriptions (user_id);
COMMENT ON TABLE subscriptions IS 'Stripe''s subscriptions as they were last read there';
COMMENT ON COLUMN subscriptions.first_fee_item IS
    'the invoice item for the fee of the period in which it began, which Stripe leaves free; ''-'' where none is owed';

CREATE TABLE payment_failures (
    stripe_invoice_id text PRIMARY KEY CHECK (octet_length(stripe_invoice_id) BETWEEN 1 AND 255),
    user_id text NOT NULL REFERENCES customers,
    failed_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    resolved_at timestamptz
);
CREATE INDEX payment_failures_open ON payment_failures (user_id) WHERE resolved_at IS NULL;
COMMENT ON COLUMN payment_failures.failed_at IS 'null where it was resolved before any failure was heard of';

CREATE TABLE invoice_refunds (
    stripe_id text PRIMARY KEY CHECK (octet_length(stripe_id) BETWEEN 1 AND 255),
    invoice_id uuid NOT NULL REFERENCES invoices,
    kind text NOT NULL CHECK (kind IN ('refund', 'dispute')),
    amount bigint NOT NULL CHECK (amount >= 0),
    currency text NOT NULL,
    status text NOT NULL,
    told_at timestamptz NOT NULL
);
CREATE INDEX invoice_refunds_invoice_id ON invoice_refunds (invoice_id);
COMMENT ON TABLE invoice_refunds IS 'money that went back: refunds by their charge, disputes by their own id';

ALTER TABLE plans ADD COLUMN on_unpaid text NOT NULL DEFAULT 'none' CHECK (on_unpaid IN ('none', 'throttle', 'suspend'));
COMMENT ON COLUMN plans.on_unpaid IS 'what becomes of a customer whose payment failed longer ago than the grace';

ALTER TABLE customers ADD COLUMN access text CHECK (access IN ('throttled', 'suspended'));
COMMENT ON COLUMN customers.access IS 'what the payment side leaves the customer; null: everything. status is for people to set';
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute(
        """
        ALTER TABLE customers DROP COLUMN access;
        ALTER TABLE plans DROP COLUMN on_unpaid;
        DROP TABLE invoice_refunds, payment_failures, subscriptions, checkouts, stripe_links, stripe_objects;
        """
    )

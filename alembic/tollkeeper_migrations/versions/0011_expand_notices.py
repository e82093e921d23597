"""Expand: notices and their deliveries; a threshold crossed again under another quota is another alert.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_STATEMENTS = """
CREATE TABLE notices (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kind text NOT NULL CHECK (kind ~ '^[a-z_]+\\.[a-z_]+$'),
    user_id text,
    subject text NOT NULL UNIQUE CHECK (octet_length(subject) BETWEEN 1 AND 1000),
    payload jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object'),
    created_at timestamptz NOT NULL,
    spread_at timestamptz
);
CREATE INDEX notices_to_spread ON notices (created_at) WHERE spread_at IS NULL;
CREATE INDEX notices_user_id ON notices (user_id, created_at) WHERE user_id IS NOT NULL;
COMMENT ON TABLE notices IS 'facts to be told, each written once in the transaction that makes it true';
COMMENT ON COLUMN notices.subject IS 'what makes two notices the same: such as threshold, quota, period and customer';
COMMENT ON COLUMN notices.spread_at IS 'when a delivery was made for everybody who is to hear of it';

CREATE TABLE notice_deliveries (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    notice_id uuid NOT NULL REFERENCES notices ON DELETE CASCADE,
    channel text NOT NULL CHECK (channel IN ('mail', 'slack', 'webhook')),
    target text NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'parked', 'dropped')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    sent_at timestamptz,
    last_error text,
    UNIQUE (notice_id, channel, target)
);
CREATE INDEX notice_deliveries_due ON notice_deliveries (channel, next_attempt_at) WHERE state = 'pending';
CREATE INDEX notice_deliveries_parked ON notice_deliveries (notice_id) WHERE state = 'parked';
COMMENT ON COLUMN notice_deliveries.target IS
    'customer or operator; for a webhook the id of its endpoint. Where it leads is looked up at each attempt';
COMMENT ON COLUMN notice_deliveries.state IS
    'parked: given up until a person says retry; dropped: nobody to send it to any more';

CREATE TABLE notice_attempts (
    delivery_id uuid NOT NULL REFERENCES notice_deliveries ON DELETE CASCADE,
    attempt integer NOT NULL,
    at timestamptz NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('sent', 'put_off', 'refused', 'dropped')),
    status integer,
    milliseconds integer NOT NULL CHECK (milliseconds >= 0),
    detail text,
    PRIMARY KEY (delivery_id, attempt)
);

CREATE TABLE webhook_endpoints (
    id uuid PRIMARY KEY,
    user_id text REFERENCES customers,
    url text NOT NULL CHECK (octet_length(url) BETWEEN 1 AND 2000),
    secret text NOT NULL,
    kinds text[],
    created_at timestamptz NOT NULL,
    disabled_at timestamptz,
    disabled_reason text
);
CREATE INDEX webhook_endpoints_user_id ON webhook_endpoints (user_id) WHERE disabled_at IS NULL;
COMMENT ON COLUMN webhook_endpoints.user_id IS 'whose notices go there; null: the operator''s, all customers'' do';
COMMENT ON COLUMN webhook_endpoints.kinds IS 'null: all kinds';

ALTER TABLE customers ADD COLUMN slack_webhook_url text CHECK (octet_length(slack_webhook_url) BETWEEN 1 AND 2000);

ALTER TABLE quota_alerts DROP CONSTRAINT quota_alerts_pkey,
    ADD PRIMARY KEY (user_id, period_start, threshold, quota_tokens);
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute(
        """
        DELETE FROM quota_alerts AS a USING quota_alerts AS b WHERE a.user_id = b.user_id AND a.threshold = b.threshold
            AND a.period_start = b.period_start AND a.quota_tokens > b.quota_tokens;
        ALTER TABLE quota_alerts DROP CONSTRAINT quota_alerts_pkey, ADD PRIMARY KEY (user_id, period_start, threshold);
        ALTER TABLE customers DROP COLUMN slack_webhook_url;
        DROP TABLE webhook_endpoints, notice_attempts, notice_deliveries, notices;
        """
    )

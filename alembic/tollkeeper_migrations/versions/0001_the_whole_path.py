"""The whole path: customers, plans, usage, holds, invoices, reports, notices.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A numeric that is no NaN and no infinity: NaN sorts above everything in PostgreSQL, so one comparison refuses both.
_STATEMENTS = """
CREATE TABLE plans (
    id text PRIMARY KEY CHECK (octet_length(id) BETWEEN 1 AND 100 AND id !~ '[[:cntrl:]]'),
    name text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
    billing_interval text NOT NULL CHECK (billing_interval IN ('month', 'year', 'anniversary')),
    spend_cap bigint CHECK (spend_cap >= 0),
    at_cap text NOT NULL DEFAULT 'block' CHECK (at_cap IN ('block', 'throttle', 'warn')),
    quota_tokens bigint CHECK (quota_tokens >= 0),
    rate_limit text CHECK (rate_limit ~ '^[1-9][0-9]{0,8}/(second|minute|hour|day)$'),
    throttle_limit text CHECK (throttle_limit ~ '^[1-9][0-9]{0,8}/(second|minute|hour|day)$'),
    collect text CHECK (collect IN ('meters', 'invoices', 'off')),
    unpriced text NOT NULL DEFAULT 'flag' CHECK (unpriced IN ('refuse', 'flag')),
    hold_tokens bigint CHECK (hold_tokens >= 0),
    upgrade_url text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
COMMENT ON COLUMN plans.spend_cap IS
    'usage charges in a period, minor units; an UPDATE is in force at the next request';

CREATE TABLE plan_versions (
    plan_id text NOT NULL REFERENCES plans,
    version integer NOT NULL CHECK (version >= 1),
    tariff jsonb NOT NULL,
    applied_at timestamptz NOT NULL,
    immediate boolean NOT NULL DEFAULT false,
    PRIMARY KEY (plan_id, version)
);
COMMENT ON TABLE plan_versions IS 'what affects money, as it was; rows are never changed';

CREATE TABLE customers (
    user_id text PRIMARY KEY CHECK (octet_length(user_id) BETWEEN 1 AND 255 AND user_id !~ '[[:cntrl:]]'),
    email text CHECK (octet_length(email) BETWEEN 3 AND 320),
    plan_id text NOT NULL REFERENCES plans,
    stripe_customer_id text UNIQUE CHECK (octet_length(stripe_customer_id) BETWEEN 1 AND 255),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'closed')),
    period_anchor timestamptz,
    created_at timestamptz NOT NULL
);

CREATE TABLE api_keys (
    key_hash bytea PRIMARY KEY CHECK (octet_length(key_hash) = 32),
    prefix text NOT NULL,
    user_id text NOT NULL REFERENCES customers,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX api_keys_user_id ON api_keys (user_id);

CREATE TABLE usage_events (
    id uuid NOT NULL,
    user_id text NOT NULL,
    "timestamp" timestamptz NOT NULL,
    model_id text NOT NULL CHECK (octet_length(model_id) BETWEEN 1 AND 255),
    tokens_in bigint NOT NULL DEFAULT 0 CHECK (tokens_in >= 0),
    tokens_out bigint NOT NULL DEFAULT 0 CHECK (tokens_out >= 0),
    cached_tokens_in bigint NOT NULL DEFAULT 0 CHECK (cached_tokens_in >= 0),
    cache_write_tokens_in bigint NOT NULL DEFAULT 0 CHECK (cache_write_tokens_in >= 0),
    reasoning_tokens_out bigint NOT NULL DEFAULT 0 CHECK (reasoning_tokens_out >= 0),
    compute_minutes numeric NOT NULL DEFAULT 0 CHECK (compute_minutes >= 0 AND compute_minutes < 'Infinity'),
    cost_units numeric NOT NULL CHECK (cost_units > '-Infinity' AND cost_units < 'Infinity'),
    latency_ms integer CHECK (latency_ms >= 0),
    status_code smallint CHECK (status_code BETWEEN 100 AND 599),
    method text,
    path text,
    request_id text,
    estimated boolean NOT NULL DEFAULT false,
    complete boolean NOT NULL DEFAULT true,
    units jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(units) = 'object'),
    usage_state text NOT NULL DEFAULT 'reported' CHECK (usage_state IN ('reported', 'not_reported', 'unreadable')),
    unpriced boolean NOT NULL DEFAULT false,
    billable boolean NOT NULL DEFAULT true,
    revision smallint NOT NULL DEFAULT 1 CHECK (revision >= 1),
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (id, "timestamp"),
    CHECK (tokens_in::numeric >= cached_tokens_in::numeric + cache_write_tokens_in::numeric),
    CHECK (tokens_out >= reasoning_tokens_out)
) PARTITION BY RANGE ("timestamp");
CREATE INDEX usage_events_user_id_timestamp ON usage_events (user_id, "timestamp");
COMMENT ON COLUMN usage_events.cost_units IS 'what the event adds to the bill, minor units, unrounded';
COMMENT ON COLUMN usage_events.usage_state IS
    'reported (zero is a figure too), not_reported by the answer, or unreadable: three different things for a bill';
COMMENT ON COLUMN usage_events.revision IS
    'the revision of its period that bills it: 1, or more when it came after a close';

CREATE TABLE usage_periods (
    user_id text NOT NULL REFERENCES customers,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL CHECK (period_end > period_start),
    plan_id text NOT NULL,
    plan_version integer NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
    version bigint NOT NULL DEFAULT 0,
    revision smallint NOT NULL DEFAULT 1 CHECK (revision >= 1),
    events bigint NOT NULL DEFAULT 0 CHECK (events >= 0),
    tokens numeric NOT NULL DEFAULT 0 CHECK (tokens >= 0 AND tokens < 'Infinity'),
    totals jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(totals) = 'object'),
    billed_totals jsonb CHECK (jsonb_typeof(billed_totals) = 'object'),
    cost_units numeric NOT NULL DEFAULT 0 CHECK (cost_units >= 0 AND cost_units < 'Infinity'),
    spent bigint NOT NULL DEFAULT 0 CHECK (spent >= 0),
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed', 'parked')),
    parked_reason text,
    closed_at timestamptz,
    PRIMARY KEY (user_id, period_start),
    FOREIGN KEY (plan_id, plan_version) REFERENCES plan_versions (plan_id, version)
);
CREATE INDEX usage_periods_open ON usage_periods (period_end, user_id) WHERE status = 'open';
COMMENT ON TABLE usage_periods IS
    'running totals of one customer in one period, changed in the transaction that stores the events';
COMMENT ON COLUMN usage_periods.totals IS
    '{model_id: {token_type or meter: quantity}}; integers as numbers, fractions as strings';
COMMENT ON COLUMN usage_periods.billed_totals IS 'the totals as the last close froze them';
COMMENT ON COLUMN usage_periods.version IS 'grows with every change; copies elsewhere are ordered by it';
COMMENT ON COLUMN usage_periods.revision IS 'what an event stored now belongs to';

CREATE VIEW usage_totals AS
SELECT p.user_id, p.period_start, p.period_end, model.key AS model_id, meter.key AS token_type,
       (meter.value #>> '{}')::numeric AS quantity
FROM usage_periods AS p,
     LATERAL jsonb_each(p.totals) AS model,
     LATERAL jsonb_each(model.value) AS meter;

-- No foreign key: the one statement that places holds takes the name from customers, and checking it again would cost as
-- much as the insert.
CREATE TABLE holds (
    id uuid PRIMARY KEY,
    user_id text NOT NULL,
    started_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > started_at),
    model_id text,
    tokens_in bigint NOT NULL CHECK (tokens_in >= 0),
    tokens_out bigint CHECK (tokens_out >= 0),
    method text,
    path text,
    counted boolean NOT NULL DEFAULT true
);
CREATE INDEX holds_user_id ON holds (user_id);
CREATE INDEX holds_expires_at ON holds (expires_at);
COMMENT ON COLUMN holds.tokens_out IS 'null: the request states no limit, the plan''s default stands for it';
COMMENT ON COLUMN holds.counted IS 'false while PostgreSQL itself has yet to decide on the request';

CREATE TABLE invoices (
    id uuid PRIMARY KEY,
    user_id text NOT NULL REFERENCES customers,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL CHECK (period_end > period_start),
    revision smallint NOT NULL DEFAULT 1 CHECK (revision >= 1),
    currency text NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
    status text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'finalized', 'paid', 'void', 'uncollectible')),
    total_amount bigint NOT NULL CHECK (total_amount >= 0),
    plan_id text NOT NULL,
    plan_version integer NOT NULL,
    collect text NOT NULL CHECK (collect IN ('meters', 'invoices', 'off')),
    stripe_invoice_id text UNIQUE,
    arrival_cutoff timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    finalized_at timestamptz,
    paid_at timestamptz,
    alarm text,
    UNIQUE (user_id, period_start, revision),
    FOREIGN KEY (plan_id, plan_version) REFERENCES plan_versions (plan_id, version)
);
CREATE INDEX invoices_draft ON invoices (created_at) WHERE status = 'draft';
COMMENT ON COLUMN invoices.arrival_cutoff IS 'events of the period that were stored before this instant are on it';
COMMENT ON COLUMN invoices.alarm IS 'what does not agree with the payment side, for a person to look at';

CREATE TABLE invoice_line_items (
    invoice_id uuid NOT NULL REFERENCES invoices ON DELETE CASCADE,
    position integer NOT NULL CHECK (position >= 1),
    kind text NOT NULL CHECK (kind IN ('usage', 'base_fee', 'credit', 'late_usage', 'adjustment')),
    model_id text,
    token_type text,
    quantity numeric NOT NULL CHECK (quantity > '-Infinity' AND quantity < 'Infinity'),
    unit_amount_decimal numeric NOT NULL
        CHECK (unit_amount_decimal > '-Infinity' AND unit_amount_decimal < 'Infinity'),
    amount bigint NOT NULL,
    description text NOT NULL,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    PRIMARY KEY (invoice_id, position)
);

-- Lines add up to the invoice's total, whoever wrote them: checked when the transaction commits.
CREATE FUNCTION tollkeeper_lines_add_up() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted bigint;
    found numeric;
BEGIN
    SELECT total_amount INTO wanted FROM invoices WHERE id = NEW.id;
    SELECT coalesce(sum(amount), 0) INTO found FROM invoice_line_items WHERE invoice_id = NEW.id;
    IF wanted IS DISTINCT FROM found THEN
        RAISE EXCEPTION 'the lines of invoice % add up to %, its total is %', NEW.id, found, wanted
            USING ERRCODE = 'check_violation', CONSTRAINT = 'invoices_lines_add_up';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER invoices_lines_add_up AFTER INSERT OR UPDATE OF total_amount ON invoices
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tollkeeper_lines_add_up();

CREATE TABLE stripe_reports (
    id uuid PRIMARY KEY,
    invoice_id uuid NOT NULL REFERENCES invoices,
    user_id text NOT NULL REFERENCES customers,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    model_id text NOT NULL,
    token_type text NOT NULL,
    revision smallint NOT NULL DEFAULT 1,
    event_name text NOT NULL CHECK (octet_length(event_name) BETWEEN 1 AND 100),
    identifier text NOT NULL UNIQUE CHECK (octet_length(identifier) BETWEEN 1 AND 100),
    value numeric NOT NULL CHECK (value >= 0 AND value < 'Infinity'),
    "timestamp" timestamptz NOT NULL,
    stripe_customer_id text,
    state text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'sending', 'acknowledged', 'confirmed', 'rejected')),
    key_attempt integer NOT NULL DEFAULT 1,
    attempts integer NOT NULL DEFAULT 0,
    first_sent_at timestamptz,
    last_sent_at timestamptz,
    next_attempt_at timestamptz,
    acknowledged_at timestamptz,
    last_error text,
    created_at timestamptz NOT NULL,
    UNIQUE (user_id, period_start, model_id, token_type, revision),
    CHECK ("timestamp" >= period_start AND "timestamp" < period_end)
);
CREATE INDEX stripe_reports_owed ON stripe_reports (next_attempt_at) WHERE state IN ('pending', 'sending');
COMMENT ON COLUMN stripe_reports.key_attempt IS
    'grows only when a stored failure blocks the idempotency key; the identifier never changes';

CREATE TABLE quota_alerts (
    user_id text NOT NULL REFERENCES customers,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    threshold smallint NOT NULL CHECK (threshold IN (50, 80, 100)),
    quota_tokens bigint NOT NULL,
    used_tokens numeric NOT NULL,
    created_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'failed', 'no_address')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    sent_at timestamptz,
    last_error text,
    PRIMARY KEY (user_id, period_start, threshold)
);
CREATE INDEX quota_alerts_pending ON quota_alerts (next_attempt_at) WHERE state = 'pending';

CREATE TABLE webhook_events (
    provider text NOT NULL CHECK (provider IN ('stripe', 'paystack')),
    event_id text NOT NULL CHECK (octet_length(event_id) BETWEEN 1 AND 255),
    type text NOT NULL,
    payload jsonb NOT NULL,
    received_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'applied', 'ignored', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    applied_at timestamptz,
    last_error text,
    PRIMARY KEY (provider, event_id)
);
CREATE INDEX webhook_events_pending ON webhook_events (received_at) WHERE state = 'pending';
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute(
        """
        DROP VIEW usage_totals;
        DROP TABLE webhook_events, quota_alerts, stripe_reports, invoice_line_items, invoices, holds, usage_periods,
            usage_events, api_keys, customers, plan_versions, plans;
        DROP FUNCTION tollkeeper_lines_add_up();
        """
    )

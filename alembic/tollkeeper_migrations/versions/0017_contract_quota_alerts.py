"""Contract: alerts say what was crossed, and deliveries of notices how it was told. Addresses that refuse mail are flagged.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_STATEMENTS = """
INSERT INTO notices (kind, user_id, subject, payload, created_at)
SELECT 'quota.crossed', a.user_id,
       format('quota.crossed %s of %s %s %s', a.threshold, a.quota_tokens,
              to_char(a.period_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'), a.user_id),
       jsonb_build_object('period_start', a.period_start, 'period_end', a.period_end, 'plan_id', p.id, 'plan_name', p.name,
                          'spent', NULL, 'spend_cap', p.spend_cap, 'currency', p.currency, 'upgrade_url', p.upgrade_url,
                          'threshold', a.threshold, 'quota_tokens', a.quota_tokens, 'used_tokens', a.used_tokens),
       a.created_at
FROM quota_alerts AS a JOIN customers AS c ON c.user_id = a.user_id JOIN plans AS p ON p.id = c.plan_id
WHERE a.state = 'pending' ON CONFLICT (subject) DO NOTHING;

ALTER TABLE quota_alerts DROP COLUMN state, DROP COLUMN attempts, DROP COLUMN next_attempt_at, DROP COLUMN sent_at,
    DROP COLUMN last_error;

CREATE INDEX notice_deliveries_target ON notice_deliveries (target) WHERE channel = 'webhook';

ALTER TABLE customers ADD COLUMN email_refused_at timestamptz;
COMMENT ON COLUMN customers.email_refused_at IS
    'when a mail server said for good that it does not take mail for this address; null again with the next address';
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute(
        """
        ALTER TABLE customers DROP COLUMN email_refused_at;
        DROP INDEX notice_deliveries_target;
        ALTER TABLE quota_alerts ADD COLUMN state text NOT NULL DEFAULT 'pending'
                CHECK (state IN ('pending', 'sent', 'failed', 'no_address')),
            ADD COLUMN attempts integer NOT NULL DEFAULT 0, ADD COLUMN next_attempt_at timestamptz,
            ADD COLUMN sent_at timestamptz, ADD COLUMN last_error text;
        UPDATE quota_alerts SET state = 'sent';
        CREATE INDEX quota_alerts_pending ON quota_alerts (next_attempt_at) WHERE state = 'pending';
        """
    )

"""Expand: an event is reversed by a row of its own with the counts below zero, and no event is edited or deleted any more.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_OLD_CHECKS = {
    "usage_events_tokens_in_check": "tokens_in >= 0",
    "usage_events_tokens_out_check": "tokens_out >= 0",
    "usage_events_cached_tokens_in_check": "cached_tokens_in >= 0",
    "usage_events_cache_write_tokens_in_check": "cache_write_tokens_in >= 0",
    "usage_events_reasoning_tokens_out_check": "reasoning_tokens_out >= 0",
    "usage_events_compute_minutes_check": "compute_minutes >= 0 AND compute_minutes < 'Infinity'",
    "usage_events_check": "tokens_in::numeric >= cached_tokens_in::numeric + cache_write_tokens_in::numeric",
    "usage_events_check1": "tokens_out >= reasoning_tokens_out",
}

# Not validated: every row that is there satisfied the stricter checks, and a big table need not be read for it.
_STATEMENTS = """
ALTER TABLE usage_events ADD COLUMN reverses uuid;
ALTER TABLE usage_events ADD CONSTRAINT usage_events_counts CHECK (CASE WHEN reverses IS NULL
    THEN tokens_in >= 0 AND tokens_out >= 0 AND cached_tokens_in >= 0 AND cache_write_tokens_in >= 0
        AND reasoning_tokens_out >= 0 AND compute_minutes >= 0 AND compute_minutes < 'Infinity'
        AND tokens_in::numeric >= cached_tokens_in::numeric + cache_write_tokens_in::numeric
        AND tokens_out >= reasoning_tokens_out
    ELSE tokens_in <= 0 AND tokens_out <= 0 AND cached_tokens_in <= 0 AND cache_write_tokens_in <= 0
        AND reasoning_tokens_out <= 0 AND compute_minutes <= 0 AND compute_minutes > '-Infinity'
        AND tokens_in::numeric <= cached_tokens_in::numeric + cache_write_tokens_in::numeric
        AND tokens_out <= reasoning_tokens_out END) NOT VALID;
COMMENT ON COLUMN usage_events.reverses IS
    'the event that this row takes back: same time, same counts below zero (parts as they were); sums need no special case';

-- What an event costs may be worked out anew, and whether it has a price; what happened stays as it was recorded. A month is
-- dropped as a whole. The one row that goes is the sweeper's, which carries no charge, when its request settles after all.
CREATE TRIGGER usage_events_facts BEFORE UPDATE OF id, user_id, "timestamp", model_id, tokens_in, tokens_out,
    cached_tokens_in, cache_write_tokens_in, reasoning_tokens_out, compute_minutes, units, parts, billable, reverses,
    recorded_at ON usage_events FOR EACH ROW EXECUTE FUNCTION tollkeeper_append_only();
CREATE TRIGGER usage_events_kept BEFORE DELETE ON usage_events FOR EACH ROW
    WHEN (OLD.billable OR OLD.complete OR OLD.status_code IS NOT NULL OR OLD.latency_ms IS NOT NULL
          OR OLD.usage_state <> 'not_reported')
    EXECUTE FUNCTION tollkeeper_append_only();
"""


def upgrade() -> None:
    for name in _OLD_CHECKS:
        op.execute(f"ALTER TABLE usage_events DROP CONSTRAINT {name}")
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute(
        """
        DROP TRIGGER usage_events_kept ON usage_events;
        DROP TRIGGER usage_events_facts ON usage_events;
        ALTER TABLE usage_events DROP CONSTRAINT usage_events_counts, DROP COLUMN reverses;
        """
    )
    for name, check in _OLD_CHECKS.items():
        op.execute(f"ALTER TABLE usage_events ADD CONSTRAINT {name} CHECK ({check})")

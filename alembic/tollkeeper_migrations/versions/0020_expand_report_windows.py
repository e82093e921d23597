"""Expand: reports of a day or an hour, told while their period is open; and of what was taken back, below zero.

Revision ID: 0020
Revises: 0019
"""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_STATEMENTS = """
ALTER TABLE stripe_reports
    ALTER COLUMN invoice_id DROP NOT NULL,
    ADD COLUMN window_start timestamptz,
    ADD COLUMN window_end timestamptz,
    DROP CONSTRAINT stripe_reports_value_check,
    ADD CONSTRAINT stripe_reports_value_finite CHECK (value > '-Infinity' AND value < 'Infinity') NOT VALID,
    ADD CONSTRAINT stripe_reports_window CHECK (CASE WHEN window_start IS NULL THEN window_end IS NULL
        ELSE window_start >= period_start AND window_end > window_start AND window_end <= period_end END) NOT VALID;
COMMENT ON COLUMN stripe_reports.invoice_id IS 'null for as long as the period is open';
COMMENT ON COLUMN stripe_reports.window_start IS 'what part of the period it is about, where that is not all of it';

CREATE TABLE report_windows (
    user_id text NOT NULL,
    period_start timestamptz NOT NULL,
    told_to timestamptz NOT NULL,
    PRIMARY KEY (user_id, period_start),
    FOREIGN KEY (user_id, period_start) REFERENCES usage_periods ON DELETE CASCADE
);
COMMENT ON TABLE report_windows IS 'up to where the days or hours of an open period have been entered as reports';
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE report_windows;
        ALTER TABLE stripe_reports DROP CONSTRAINT stripe_reports_window, DROP CONSTRAINT stripe_reports_value_finite,
            DROP COLUMN window_end, DROP COLUMN window_start;
        ALTER TABLE stripe_reports ADD CONSTRAINT stripe_reports_value_check
            CHECK (value >= 0 AND value < 'Infinity') NOT VALID;
        """
    )

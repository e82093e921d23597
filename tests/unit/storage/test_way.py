from __future__ import annotations

import pytest

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.storage.database import sqlalchemy_url, way_to

URL = "postgresql://me:secret@db:5432/shop"


def test_a_session_is_in_utc_in_our_schema_and_with_its_own_options() -> None:
    way = way_to(f"{URL}?sslmode=require", "billing", "-c enable_seqscan=off")

    assert way.url == f"{URL}?sslmode=require"
    assert way.arguments == {"options": "-c timezone=UTC -c search_path=billing -c enable_seqscan=off"}


def test_behind_a_pooler_of_transactions_nothing_is_prepared_and_no_option_is_sent() -> None:
    way = way_to(f"{URL}?sslmode=require&pgbouncer=true", None, "-c enable_seqscan=off")

    assert way.url == f"{URL}?sslmode=require"
    assert way.arguments == {"prepare_threshold": None}
    assert sqlalchemy_url(way) == "postgresql+psycopg://me:secret@db:5432/shop?sslmode=require"


def test_a_schema_cannot_be_asked_for_behind_a_pooler_of_transactions() -> None:
    with pytest.raises(InvalidInput, match=r"^TOLLKEEPER_DB_SCHEMA: expected no value beside pgbouncer=true"):
        way_to(f"{URL}?pgbouncer=true", "billing")

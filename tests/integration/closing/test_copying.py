"""What goes into a table by `COPY` comes out as it went in, and is refused as by any other statement."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError

from integration.closing.ledger import Ledger
from tollkeeper.storage.database import all_rows, copy_rows

STRANGE = ["", "\\N", "\\.", "a\tb\nc\r\nd", "back\\slash", "'quoted' \"twice\"", "日本 ₦5", "\b\f\v\x7f\u2028", None]


def test_every_text_and_no_text_at_all_arrive_as_they_are(ledger: Ledger) -> None:
    with ledger.database.transaction() as connection:
        connection.exec_driver_sql("CREATE TEMPORARY TABLE told (n int, said text) ON COMMIT DROP")
        copy_rows(connection, "told", ("n", "said"), [(str(n), said) for n, said in enumerate(STRANGE)])
        assert [row["said"] for row in all_rows(connection, "SELECT said FROM told ORDER BY n")] == STRANGE


def test_more_rows_than_are_sent_at_once_all_arrive_and_none_is_no_mistake(ledger: Ledger) -> None:
    with ledger.database.transaction() as connection:
        connection.exec_driver_sql("CREATE TEMPORARY TABLE told (n int) ON COMMIT DROP")
        copy_rows(connection, "told", ("n",), ((str(n),) for n in range(2_500)))
        copy_rows(connection, "told", ("n",), [])
        # 0 + 1 + … + 2,499 = 2,499 × 2,500 / 2
        assert all_rows(connection, "SELECT count(*) AS n, sum(n) AS s FROM told") == [{"n": 2500, "s": 3_123_750}]


def test_what_the_table_refuses_is_the_same_error_as_of_any_statement(ledger: Ledger) -> None:
    with ledger.database.transaction() as connection:
        connection.exec_driver_sql("CREATE TEMPORARY TABLE told (n int NOT NULL) ON COMMIT DROP")
        with pytest.raises(IntegrityError, match="null value"):
            copy_rows(connection, "told", ("n",), [("1",), (None,)])
        connection.rollback()

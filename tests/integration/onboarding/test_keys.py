from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import pytest

from tollkeeper.domain.errors import InvalidInput, NotFound
from tollkeeper.domain.keys import hash_key, looks_like_key
from tollkeeper.services.onboarding import issue_key, list_keys, revoke, rotate_key
from tollkeeper.storage.database import Database, all_rows

NOW = datetime(2026, 11, 15, 12, tzinfo=UTC)


def test_a_key_is_stored_as_a_hash_and_a_prefix_and_nowhere_else(database: Database, ada: str) -> None:
    key = issue_key(database, ada, NOW)

    assert looks_like_key(key)
    with database.transaction() as connection:
        (row,) = all_rows(connection, "SELECT * FROM api_keys")
    assert row == {
        "key_hash": hash_key(key),
        "prefix": key[:11],
        "user_id": "ada",
        "created_at": NOW,
        "revoked_at": None,
    }


def test_every_key_is_another_one(database: Database, ada: str) -> None:
    keys = {issue_key(database, ada, NOW + timedelta(seconds=n)) for n in range(5)}

    assert len(keys) == 5
    assert [stored.prefix for stored in list_keys(database, ada)] == [
        stored.prefix for stored in sorted(list_keys(database, ada), key=lambda stored: stored.created_at)
    ]


def test_a_key_is_issued_to_a_customer_that_exists(database: Database) -> None:
    with pytest.raises(NotFound, match="no customer 'ada'"):
        issue_key(database, "ada", NOW)
    with pytest.raises(NotFound, match="no customer 'ada'"):
        list_keys(database, "ada")


@pytest.mark.parametrize("shown", [11, None], ids=["by its prefix", "by the whole key"])
def test_a_revoked_key_stays_revoked_at_its_first_date(database: Database, ada: str, shown: int | None) -> None:
    key = issue_key(database, ada, NOW)
    other = issue_key(database, ada, NOW)

    assert revoke(database, key[:shown], NOW).revoked_at is None
    assert revoke(database, key[:shown], NOW + timedelta(days=1)).revoked_at == NOW

    revoked = {stored.prefix: stored.revoked_at for stored in list_keys(database, ada)}
    assert revoked == {key[:11]: NOW, other[:11]: None}


def test_where_two_keys_begin_alike_the_whole_key_is_needed(database: Database, ada: str) -> None:
    # The first 40 bits are the same, the end differs: two keys with one prefix.
    one, two = (issue_key(database, ada, NOW, lambda n, end=end: b"\x07" * (n - 1) + end) for end in (b"a", b"b"))  # type: ignore[misc] # each has its own end

    with pytest.raises(InvalidInput, match="key: expected the whole key, because 2 keys begin with"):
        revoke(database, one[:11], NOW)
    revoke(database, two, NOW)

    revoked = {stored.key_hash: stored.revoked_at for stored in list_keys(database, ada)}
    assert revoked == {hash_key(one): None, hash_key(two): NOW}


@pytest.mark.parametrize("key", ["tk_00000000", "ada"])
def test_a_key_that_does_not_exist_is_not_found(database: Database, ada: str, key: str) -> None:
    with pytest.raises(NotFound, match="no key"):
        revoke(database, key, NOW)


def test_the_bits_of_a_key_come_from_where_secrets_come_from(
    database: Database, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert issue_key.__defaults__ == (secrets.token_bytes,)


class TestRotation:
    def test_the_old_key_works_until_the_overlap_is_over_and_the_new_one_at_once(
        self, database: Database, ada: str
    ) -> None:
        old = issue_key(database, ada, NOW)
        done = rotate_key(database, old, NOW, overlap=timedelta(hours=24))
        stored = {one.prefix: one.revoked_at for one in list_keys(database, ada)}
        assert done.old_until == NOW + timedelta(hours=24)
        assert stored == {old[:11]: NOW + timedelta(hours=24), done.key[:11]: None}

    def test_a_key_that_is_on_its_way_out_is_not_rotated_again(self, database: Database, ada: str) -> None:
        old = issue_key(database, ada, NOW)
        rotate_key(database, old, NOW, overlap=timedelta(hours=24))
        with pytest.raises(InvalidInput):
            rotate_key(database, old, NOW, overlap=timedelta(hours=24))
        assert len(list_keys(database, ada)) == 2

    def test_revoking_cuts_the_overlap_short_and_never_makes_it_longer(self, database: Database, ada: str) -> None:
        old = issue_key(database, ada, NOW)
        rotate_key(database, old, NOW, overlap=timedelta(hours=24))
        revoke(database, old, NOW + timedelta(hours=1))
        revoke(database, old, NOW + timedelta(hours=2))
        [revoked_at] = [one.revoked_at for one in list_keys(database, ada) if one.prefix == old[:11]]
        assert revoked_at == NOW + timedelta(hours=1)

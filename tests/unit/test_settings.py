from __future__ import annotations

import pytest

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.settings import read_settings


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("TOLLKEEPER_COLLECT", "bananas", "TOLLKEEPER_COLLECT: expected 'meters', 'invoices' or 'off'"),
        ("TOLLKEEPER_HOLD_TOKENS", "-1", "TOLLKEEPER_HOLD_TOKENS: expected greater than or equal to 0"),
        (
            "TOLLKEEPER_ADMIN_TOKEN",
            "short",
            "TOLLKEEPER_ADMIN_TOKEN: expected to have at least 16 items after validation, not 5",
        ),
    ],
)
def test_a_wrong_setting_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(InvalidInput) as refused:
        read_settings()

    assert str(refused.value) == sentence

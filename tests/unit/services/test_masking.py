from __future__ import annotations

import pytest

from tollkeeper.services.masking import MASK, mask_url, shown_settings
from tollkeeper.settings import read_settings

CANARY = "hunter2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:hunter2@db.example:5432/bills", f"postgresql://ada:{MASK}@db.example:5432/bills"),
        ("postgresql://ada@db.example/bills", "postgresql://ada@db.example/bills"),
        ("postgresql:///bills?host=/tmp/s&user=ada", "postgresql:///bills?host=/tmp/s&user=ada"),
        ("postgresql://db.example/bills?password=hunter2&sslmode=require",
         f"postgresql://db.example/bills?password={MASK}&sslmode=require"),
        ("postgresql://ada:hunter2@one:5432,two:5433/bills", f"postgresql://ada:{MASK}@one:5432,two:5433/bills"),
        ("postgresql://ada:hunt@er2@db.example/bills", f"postgresql://ada:{MASK}@db.example/bills"),
        ("redis://:hunter2@cache.example:6379/0", f"redis://:{MASK}@cache.example:6379/0"),
        ("rediss://ops:hunter2@cache.example", f"rediss://ops:{MASK}@cache.example"),
        # What cannot be told apart is not shown at all.
        ("postgresql://ada:hunter2/7@db.example/bills", MASK),
        ("postgresql://ada:hunter2#7@db.example/bills", MASK),
        ("postgresql://[hunter2/bills", MASK),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def test_no_secret_setting_is_shown() -> None:
    settings = read_settings(
        database_url=f"postgresql://ada:{CANARY}@db.example/bills",
        redis_url=f"redis://:{CANARY}@cache.example/0",
        stripe_api_key=f"sk_test_{CANARY}",
        stripe_webhook_secret=f"whsec_{CANARY}",
        stripe_api_base=f"https://ops:{CANARY}@stripe.example",
        paystack_secret_key=CANARY,
        smtp_url=f"smtp://ada:{CANARY}@mail.example",
        slack_webhook_url=f"https://hooks.example/{CANARY}",
        default_plan="free",
    )

    shown = shown_settings(settings)

    assert CANARY not in str(shown)
    assert shown["stripe_api_key"] == MASK
    assert shown["default_plan"] == "free"
    assert shown["collect"] == "meters"
    assert set(shown) == set(type(settings).model_fields)

"""Masking: settings as they may be shown to anybody, without a password or key in them."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

from tollkeeper.settings import Settings

MASK = "********"

_SECRET_PARAMETER = re.compile("pass|secret|token|key", re.IGNORECASE)


def shown_settings(settings: Settings) -> dict[str, str | None]:
    """Every setting by name, as text; None where it is not set."""
    return {name: _shown(getattr(settings, name)) for name in type(settings).model_fields}


def mask_url(url: str) -> str:
    """The URL with its password, and every parameter that may be a secret, replaced; all of it where that is not sure."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    user, at, host = parts.netloc.rpartition("@")
    if not at and "@" in url:
        return MASK  # a password with a slash in it, say: then nothing can be told apart
    name, colon, _ = user.partition(":")
    query = "&".join(
        f"{key}={MASK if _SECRET_PARAMETER.search(key) else value}" for key, value in parse_qsl(parts.query)
    )
    host = f"{name}{f':{MASK}' if colon else ''}{at}{host}"
    return f"{parts.scheme}://{host}{parts.path}{'?' if query else ''}{query}"


def _shown(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, SecretStr):
        return MASK
    return mask_url(value) if isinstance(value, str) and "://" in value else str(value)

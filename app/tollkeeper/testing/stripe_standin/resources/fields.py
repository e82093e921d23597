"""Small rules that many resources share."""

from __future__ import annotations

from typing import Any

from tollkeeper.testing.stripe_standin.account import Body
from tollkeeper.testing.stripe_standin.problem import bad_request, too_long
from tollkeeper.testing.stripe_standin.shapes import UNSET

_METADATA_KEYS, _METADATA_KEY_LENGTH, _METADATA_VALUE_LENGTH = 50, 40, 500


def at_most(params: dict[str, Any], **limits: int) -> None:
    """Refuses texts longer than Stripe's limit for the field."""
    for name, limit in limits.items():
        if len(params.get(name, "")) > limit:
            raise too_long(name, limit)


def changed(body: Body, params: dict[str, Any]) -> None:
    """Takes the parameters over into the object: an unset field becomes null, metadata is merged key by key."""
    for name, value in params.items():
        if name == "metadata":
            body["metadata"] = merged_metadata(body.get("metadata", {}), value)
        else:
            body[name] = None if value == UNSET else value


def merged_metadata(before: dict[str, str], change: dict[str, str] | str) -> dict[str, str]:
    """The metadata after a change; an empty value takes its key away, an empty change all of them."""
    if isinstance(change, str):
        return {}
    after = {name: value for name, value in {**before, **change}.items() if value != UNSET}
    if len(after) > _METADATA_KEYS:
        raise bad_request("metadata", f"Metadata has at most {_METADATA_KEYS} keys.")
    for name, value in after.items():
        if len(name) > _METADATA_KEY_LENGTH:
            raise bad_request("metadata", f"Metadata keys have at most {_METADATA_KEY_LENGTH} characters.")
        if len(value) > _METADATA_VALUE_LENGTH:
            raise too_long(f"metadata[{name}]", _METADATA_VALUE_LENGTH)
    return after

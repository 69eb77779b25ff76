"""What clients say about images and labels, as JSON that every later listing can hold."""

from __future__ import annotations

import json
from typing import Any

from lib.refusals import InvalidRequestError


def plain_json(info: dict[str, Any] | None) -> dict[str, Any]:
    """Refuse what would make every later listing of the datastore fail: NaN, which JSON does not have."""
    try:
        plain = json.loads(json.dumps(info or {}, allow_nan=False))
    except (TypeError, ValueError):
        plain = None
    if not isinstance(plain, dict):
        raise InvalidRequestError(
            "info: expected a JSON object without NaN or infinity, found something else."
        )
    return plain

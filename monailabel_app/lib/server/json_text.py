"""JSON of clients, read more strictly than Python does."""

from __future__ import annotations

import json
import math
from typing import Any

from lib.refusals import InvalidRequestError


def read_json(text: str | bytes, what: str) -> Any:  # noqa: ANN401 - any JSON value
    """Parse JSON without NaN, infinity and halves of surrogate pairs.

    Python reads and writes all three, and every answer that later contains one fails.

    Args:
        text: the JSON.
        what: what to call it in the message.

    Raises:
        InvalidRequestError: not JSON.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(
            f"{what}: expected JSON (no NaN, no infinity, UTF-8), found something else."
        ) from error
    return value


def read_object(text: str, what: str) -> dict[str, Any]:
    """Parse a JSON object; nothing at all is an empty one.

    Raises:
        InvalidRequestError: not a JSON object.
    """
    value = read_json(text or "{}", what)
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{what}: expected a JSON object, found something else.")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(digits)
    return number

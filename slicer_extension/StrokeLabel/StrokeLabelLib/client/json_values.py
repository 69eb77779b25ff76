"""Values of JSON from a server that may be older, newer or another: what is not as expected is empty or 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_mapping(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 - whatever JSON holds
    """Return an object; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: Any) -> list[Any]:  # noqa: ANN401
    """Return a list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def as_number(value: Any) -> float:  # noqa: ANN401
    """Return a number; 0 for NaN and anything else."""
    return float(value) if isinstance(value, (int, float)) and value == value else 0.0

"""Values of requests, from whatever type a viewer sends them as, and JSON, read more strictly than Python does."""

from __future__ import annotations

import json
import math
from typing import Any

from monailabel.utils.others.generic import name_to_device

from lib.refusals import InvalidRequestError
from strokelabel.inference.device import device_name

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def as_flag(value: object, name: str, default: bool) -> bool:
    """Read a yes or no.

    Raises:
        InvalidRequestError: neither.
    """
    value = first_of(value)
    if value is None or value == "":
        return default
    word = str(value).strip().lower()
    if word not in _TRUE + _FALSE:
        raise InvalidRequestError(f"{name}: expected true or false, found {value!r}.")
    return word in _TRUE


def as_number(value: object, name: str, default: float) -> float:
    """Read a finite number.

    Raises:
        InvalidRequestError: not one.
    """
    value = first_of(value)
    if value is None or value == "":
        return default
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidRequestError(f"{name}: expected a number, found {value!r}.")
    return number


def as_choice(value: object, name: str, choices: tuple[str, ...]) -> str:
    """Read one of some words; the first is the default.

    Raises:
        InvalidRequestError: listing the words.
    """
    value = first_of(value)
    if value is None or value == "":
        return choices[0]
    if value not in choices:
        raise InvalidRequestError(f"{name}: expected one of {', '.join(choices)}, found {value!r}.")
    return str(value)


def as_device(value: object) -> str:
    """Read a device: a name of /info/, "cpu", "cuda", or "cuda:<n>"; by default a GPU if there is one.

    "cuda" on a computer without GPU is the CPU, as everywhere in MONAI Label.

    Raises:
        InvalidRequestError, OptionError: no such device.
    """
    value = first_of(value)
    if value is not None and not isinstance(value, str):
        raise InvalidRequestError(f"device: expected a name, found {value!r}.")
    return device_name(name_to_device(value))


def first_of(value: object) -> object:
    """Return the first item of a list (the default of a choice), anything else as it is."""
    if isinstance(value, (list, tuple)):
        return value[0] if value else None
    return value


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

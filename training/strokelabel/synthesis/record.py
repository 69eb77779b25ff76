"""Parameters of synthetic images as JSON: every image can be logged, and made again from its log."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from strokelabel.errors import DataError, OptionError
from strokelabel.synthesis.generator import SampleParameters


def to_json(parameters: SampleParameters) -> str:
    """Write parameters as JSON; floating-point values survive to the last bit."""
    return json.dumps(_plain(parameters))


def from_json(text: str) -> SampleParameters:
    """Read parameters back.

    Raises:
        DataError: the text is not a record of this version.
    """
    try:
        return _build(SampleParameters, json.loads(text))  # type: ignore[no-any-return]
    except (ValueError, KeyError, TypeError, OptionError) as error:
        raise DataError(
            f"Expected the record of a synthetic image as `to_json` writes it, got: {error}"
        ) from error


def _plain(value: Any) -> Any:  # noqa: ANN401  # JSON values have no narrower type
    """Convert dataclasses to objects, and tensors to nested lists."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _build(kind: Any, value: Any) -> Any:  # noqa: ANN401
    """Invert `_plain`, guided by the dataclasses' annotations."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{field.name: _build(hints[field.name], value[field.name]) for field in fields(kind)})  # type: ignore[operator]
    if get_origin(kind) in (Union, UnionType):
        return _build(_member(kind, value), value)
    if kind is Tensor:
        return torch.tensor(value, dtype=torch.float32)
    if get_origin(kind) is tuple and isinstance(value, list):
        arguments = kind.__args__
        kinds = [arguments[0]] * len(value) if len(arguments) == 2 and arguments[1] is Ellipsis else arguments
        return tuple(_build(item_kind, item) for item_kind, item in zip(kinds, value, strict=True))
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    raise TypeError(f"expected {kind}, found {value!r:.40}")


def _member(union: Any, value: Any) -> Any:  # noqa: ANN401
    """Return the member of a union that a value was written from: None, or the dataclass with just these fields."""
    for kind in get_args(union):
        if kind is NoneType and value is None:
            return kind
        if is_dataclass(kind) and isinstance(value, dict) and {f.name for f in fields(kind)} == set(value):
            return kind
    raise TypeError(f"expected {union}, found {value!r:.40}")

"""Meaning of the values of a submitted label, as its client or its file names them, never guessed.

A label is kept only if its lesion can be told: one mask, or named values of which one is the lesion. Everything else is
refused with what was found and how to say which value is the lesion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lib.refusals import InvalidRequestError
from strokelabel.io.label_files import LESION_NAME
from strokelabel.labels import CLASS_NAMES

_UINT8_MAX = 255
_OTHER_CLASSES = frozenset(CLASS_NAMES) - {LESION_NAME}
_HOW_TO_SAY = (
    'send label_info in params, such as [{"name": "lesion", "idx": 1}, {"name": "edema", "idx": 2}]; several values '
    'may be named "lesion"'
)
_HOW_TO_RENAME = 'name the value of the lesion "lesion" (several may have that name; an empty one is fine)'


def classes_of(info: Mapping[str, Any]) -> dict[int, str]:
    """Return the name of each value above zero, by what came with a label; {} when nothing did.

    Args:
        info: viewers send `label_info`, [{"name": "lesion", "idx": 1}, ...] (or "id" for "idx"); infer tasks leave
            `params.label_names`, {"lesion": 1, ...}.

    Raises:
        InvalidRequestError: a `label_info` of another form, or two names for one value.
    """
    params, listed = info.get("params"), info.get("label_info")
    known = params.get("label_names") if isinstance(params, Mapping) else None
    entries = [(value, name) for name, value in known.items()] if isinstance(known, Mapping) else []
    if listed:
        if not isinstance(listed, list) or not all(isinstance(entry, Mapping) for entry in listed):
            raise InvalidRequestError(_unusable(listed))
        entries += [(entry.get("idx", entry.get("id")), entry.get("name")) for entry in listed]
    classes: dict[int, str] = {}
    for value, name in entries:
        number, word = _whole_number(value), name.strip() if isinstance(name, str) else ""
        if number is None or not word:
            raise InvalidRequestError(_unusable({"name": name, "idx": value}))
        if number > 0 and classes.setdefault(number, word).lower() != word.lower():
            raise InvalidRequestError(
                f"label_info: expected one name for each value, found {classes[number]!r} and {word!r} for {number}."
            )
    return classes


def with_meaning(
    labels: np.ndarray, info: Mapping[str, Any], segments: Mapping[str, int] | None = None
) -> tuple[np.ndarray, dict[int, str], dict[str, Any]]:
    """Return labels whose value of the lesion is known.

    Args:
        labels: whole numbers (i, j, k).
        info: what the client said about the label; see `classes_of`.
        segments: name -> value of the segments that the file itself names.

    Returns:
        The labels; the name of each of their values, {} for a mask without names; and the info, whose `label_info`
        names the same values. Several values that are named lesion have become one.

    Raises:
        InvalidRequestError: the lesion cannot be told.
    """
    classes = classes_of(info) if segments is None else {value: name for name, value in segments.items()}
    found = values_of(labels)
    labels = _as_one_mask(labels, found, classes)
    if not classes:
        return labels, {}, dict(info)
    note = check_lesion(classes, segments is not None)
    labels, classes = _with_one_lesion(labels, classes)
    label_info = [{"name": name, "idx": value} for value, name in classes.items()]
    notes = [*(info["notes"] if isinstance(info.get("notes"), list) else ()), note]
    return labels, classes, {**info, "label_info": label_info, **({"notes": notes} if note else {})}


def _as_one_mask(labels: np.ndarray, found: list[int], classes: Mapping[int, str]) -> np.ndarray:
    """Return labels whose values are all named; those of one mask get the value that is named, or 1 for one
    beyond 255.
    """
    if len(found) <= 1 and len(classes) <= 1 and min(found, default=1) > 0:
        value = next(iter(classes), found[0] if found and found[0] < len(CLASS_NAMES) else 1)
        if value <= _UINT8_MAX:
            return labels if found in ([], [value]) else (labels != 0) * value
    if set(found) <= set(classes) and max(found, default=0) <= _UINT8_MAX:
        return labels
    shown = ", ".join(map(str, found[:8])) + (", ..." if len(found) > 8 else "")
    expected = (
        f"the values of label_info ({_listed(classes)}), at most {_UINT8_MAX}"
        if classes
        else "one value above 0, the lesion's, or a name for each value"
    )
    raise InvalidRequestError(f"label: expected {expected}, found the values {shown}; {_HOW_TO_SAY}.")


def check_lesion(classes: Mapping[int, str], from_file: bool) -> str:
    """Refuse names that include no lesion.

    Args:
        classes: value -> name; at least one.
        from_file: they are a segmentation's own names.

    Returns:
        What a user should know; "" for nothing.

    Raises:
        InvalidRequestError: several classes, or one of another thing, and none is named lesion.
    """
    names = {name.lower() for name in classes.values()}
    if LESION_NAME in names:
        return ""
    if len(classes) == 1 and not names <= _OTHER_CLASSES:
        (name,) = classes.values()
        return f"the only class, named {name!r}, is taken for the lesion"
    found = "the segments" if from_file else "label_info with"
    raise InvalidRequestError(
        f"label: expected one that is named {LESION_NAME!r}, found {found} {_listed(classes)}; "
        f"{_HOW_TO_RENAME if from_file else _HOW_TO_SAY}."
    )


def _with_one_lesion(labels: np.ndarray, classes: dict[int, str]) -> tuple[np.ndarray, dict[int, str]]:
    """Merge several values named lesion into the first of them."""
    lesion = [value for value, name in classes.items() if name.lower() == LESION_NAME]
    if len(lesion) > 1:
        labels = np.where(np.isin(labels, lesion), lesion[0], labels)
        classes = {value: name for value, name in classes.items() if value not in lesion[1:]}
    return labels, classes


def values_of(labels: np.ndarray) -> list[int]:
    """Return the values other than 0, in order. Sorting a whole volume, as numpy does for it, takes seconds."""
    if labels.min() >= 0 and labels.max() <= _UINT8_MAX:
        counts = np.bincount(labels.astype(np.uint8).ravel(order="K"))
        return [int(value) for value in np.flatnonzero(counts) if value > 0]
    return [int(value) for value in np.unique(labels[labels != 0])]


def _listed(classes: Mapping[int, str]) -> str:
    """Return a list of names, such as "1 lesion, 2 edema"."""
    shown = [f"{value} {name}"[:60] for value, name in sorted(classes.items())]
    return ", ".join(shown[:8]) + (", ..." if len(shown) > 8 else "")


def _whole_number(value: object) -> int | None:
    """Return a whole number, also from text or a float, as clients send it."""
    try:
        number = (
            float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else None
        )
    except (ValueError, OverflowError):
        return None
    return int(number) if number is not None and number.is_integer() else None


def _unusable(found: object) -> str:
    shown = repr(found) if len(repr(found)) <= 80 else f"{repr(found)[:76]}..."
    return (
        "label_info: expected a list of objects with a name and a whole number, such as "
        f'[{{"name": "lesion", "idx": 1}}], found {shown}.'
    )

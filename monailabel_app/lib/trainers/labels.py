"""The submitted labels of a datastore, as fine-tuning takes them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from strokelabel.fit.fine_tune_cases import SubmittedLabel
from strokelabel.labels import CLASS_NAMES, TissueClass

logger = logging.getLogger(__name__)

_LESION = CLASS_NAMES[TissueClass.LESION]


def submitted_labels(datastore: Datastore) -> list[SubmittedLabel]:
    """The scans that have a final label, with what is lesion in it.

    Args:
        datastore: the app's own; a label that names classes but no lesion is left out, with a line of log.
    """
    found = []
    for image in datastore.get_labeled_images():
        info = datastore.get_label_info(image, DefaultLabelTag.FINAL)
        try:
            value = lesion_value(info)
        except LookupError:
            logger.warning(f"{image} is left out: its label has no class named {_LESION!r}")
            continue
        path, label = datastore.get_image_uri(image), datastore.get_label_uri(image, DefaultLabelTag.FINAL)
        found.append(SubmittedLabel(image, subject_of(image), Path(path), Path(label), value))
    return found


def lesion_value(info: dict[str, Any] | None) -> int | None:
    """Value of the lesion in a label, by what its viewer or the infer task said; None: everything above zero.

    Slicer sends [{"name": "lesion", "idx": 1}, ...] as `label_info`; infer tasks leave `params.label_names`.

    Raises:
        LookupError: several classes are named, and none is the lesion.
    """
    names: dict[str, Any] = {}
    info = info if isinstance(info, dict) else {}
    params = info.get("params")
    if isinstance(params, dict) and isinstance(params.get("label_names"), dict):
        names.update(params["label_names"])
    for entry in info.get("label_info") or []:
        if isinstance(entry, dict):
            names[str(entry.get("name"))] = entry.get("idx", entry.get("id"))
    values = {name.lower(): value for name, value in names.items() if isinstance(value, int)}
    if _LESION in values:
        return values[_LESION]
    if len(values) > 1:
        raise LookupError(_LESION)
    return None


def subject_of(image: str) -> str:
    """Who a scan is of: its BIDS subject, or itself."""
    first = image.split("_", 1)[0]
    return first if first.startswith("sub-") else image

"""Scoring method `dice`: agreement of the predicted lesion with the submitted one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from lib.refusals import answered_as_http
from lib.scoring.method import StoredScoring, lower_priority
from lib.scoring.uncertainty import file_stamp
from lib.task_log import log_line
from strokelabel.errors import StrokeLabelError

logger = logging.getLogger(__name__)

DICE, DETAILS = "dice", "dice_details"
"""Keys in the info of an image: the number, as MONAI Label's own method leaves it, and where it comes from."""

_SUBMITTED, _PREDICTED = DefaultLabelTag.FINAL, DefaultLabelTag.ORIGINAL


class DiceScoring(StoredScoring):
    """Comparison of the final label of each scan with the original one, where both exist.

    Two empty masks score 1, one empty mask 0. A label that cannot be compared (another shape or place, a damaged file)
    gets no number but a reason, and the others are scored nevertheless.
    """

    def __init__(self) -> None:
        super().__init__("Dice of the predicted lesion (tag original) with the submitted one (tag final)")

    def is_due(self, datastore: Datastore) -> bool:
        """Return whether labels were added or changed since they were scored."""
        return any(_stored(datastore, image) != _stamp(datastore, image) for image in _with_both(datastore))

    @answered_as_http()
    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score all scans that have both labels.

        Args:
            request: nothing in it counts.
            datastore: whose labels are compared; the info of each image receives "dice" and "dice_details".

        Returns:
            "dice" (id: number) and "failed" (id: reason).
        """
        if request.get("background") is True:
            lower_priority()
        scores: dict[str, float] = {}
        failed: dict[str, str] = {}
        for image in _with_both(datastore):
            details = _details(datastore, image)
            if details["reason"] is None:
                scores[image] = details[DICE]
            else:
                failed[image] = details["reason"]
            log_line(f"{image}: {details['reason'] or details[DICE]}")
            try:
                datastore.update_image_info(image, {DICE: details.pop(DICE), DETAILS: details})
            except Exception as error:  # deleted meanwhile, say; the others still want their scores
                logger.warning(f"{image}: the score is not kept: {error}")
        return {"dice": scores, "failed": failed}


def _details(datastore: Datastore, image: str) -> dict[str, Any]:
    """Return Dice, volumes in ml and labels' state, or a reason, for JSON."""
    from strokelabel.reports.annotations.report import compare, read_lesion

    stamp = _stamp(datastore, image)
    paths = [datastore.get_label_uri(image, tag) for tag in (_PREDICTED, _SUBMITTED)]
    try:
        predicted, submitted = (
            read_lesion(Path(path), datastore.get_label_info(image, tag) or {})
            for path, tag in zip(paths, (_PREDICTED, _SUBMITTED), strict=True)
        )
        change = compare(predicted, submitted)
    except (StrokeLabelError, OSError, MemoryError) as error:
        return {"dice": None, "reason": _reason(error), "labels": stamp}
    numbers = {name: round(float(value), 4) for name, value in vars(change).items()}
    return {**numbers, "reason": None, "labels": stamp}


def _with_both(datastore: Datastore) -> list[str]:
    """Return the ids of the images with a final and an original label."""
    labelled = sorted(datastore.get_labeled_images())
    return [image for image in labelled if datastore.get_label_uri(image, _PREDICTED)]


def _stamp(datastore: Datastore, image: str) -> str:
    return " ".join(file_stamp(datastore.get_label_uri(image, tag)) for tag in (_PREDICTED, _SUBMITTED))


def _stored(datastore: Datastore, image: str) -> str | None:
    details = datastore.get_image_info(image).get(DETAILS)
    labels = details.get("labels") if isinstance(details, dict) else None
    return labels if isinstance(labels, str) else None


def _reason(error: StrokeLabelError | OSError | MemoryError) -> str:
    """Return what is wrong without the places where the server keeps its files."""
    if isinstance(error, StrokeLabelError):
        return str(error.with_source(Path(error.source).name))
    return getattr(error, "strerror", None) or type(error).__name__

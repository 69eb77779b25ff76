"""Review of pseudo-labels, and choice of the label that a scan is trained with.

A model's label has the status "pseudo" until it is reviewed. It is then "accepted" as it is, "corrected",
or "rejected". A label without status was drawn by a person.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from monailabel.interfaces.datastore import DefaultLabelTag

from strokelabel.fit.pseudo_labels.record import ACCEPTED, CORRECTED, PSEUDO, REJECTED
from strokelabel.metrics import dice

STATUSES = (PSEUDO, ACCEPTED, CORRECTED, REJECTED)

FINAL, ORIGINAL = DefaultLabelTag.FINAL.value, DefaultLabelTag.ORIGINAL.value

Policy = Literal["reviewed", "all"]
"""Labels to train on: those that a person drew, accepted or corrected; or pseudo-labels too."""

_REVIEWER_TAG = re.compile(r"[^_]*_\d+")
"""Tags that MONAI Label's Reviewer reads a version number from; it fails at others that it finds reviewed."""


def compare(pseudo: np.ndarray, submitted: np.ndarray, voxel_ml: float) -> dict[str, Any]:
    """Compare an annotator's label with the pseudo-label.

    Args:
        pseudo: the lesion that the model drew, (i, j, k) booleans.
        submitted: the lesion that came back, likewise.
        voxel_ml: volume of a voxel.

    Returns:
        "status" (accepted if nothing changed, else corrected), "dice" (1 where both are empty), "changed_ml".
    """
    changed = int(np.count_nonzero(pseudo != submitted))
    return {
        "status": CORRECTED if changed else ACCEPTED,
        "dice": round(float(dice(pseudo, submitted)), 6),
        "changed_ml": round(changed * voxel_ml, 6),
    }


def review(status: str, comment: str = "", client_id: str | None = None) -> dict[str, Any]:
    """Return the record of a decision."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {"status": status, "comment": comment, "client_id": client_id, "time": when}


def training_tag(infos: Mapping[str, Mapping[str, Any]], policy: Policy = "reviewed") -> str | None:
    """Return the tag of the label that a scan is trained with; None without one.

    A version that was approved in MONAI Label's Reviewer comes before the final label: stock training never
    sees such versions. Nothing that was rejected is trained on.

    Args:
        infos: tag -> info of the scan's labels.
        policy: whether pseudo-labels without review count.
    """
    approved = [tag for tag, info in infos.items() if _REVIEWER_TAG.fullmatch(tag) and _is_approved(info)]
    if approved:
        return max(approved, key=lambda tag: int(tag.rsplit("_", 1)[1]))
    unfit = (REJECTED,) if policy == "all" else (REJECTED, PSEUDO)
    if FINAL in infos and infos[FINAL].get("status") not in unfit:
        return FINAL
    draws = policy == "all" and ORIGINAL in infos and infos[ORIGINAL].get("status") not in unfit
    return ORIGINAL if draws else None


def is_labelled(infos: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether a scan is annotated: it has a final label that was not rejected."""
    return FINAL in infos and infos[FINAL].get("status") != REJECTED


def may_be_reviewed(tag: str) -> bool:
    """Return whether a label of this tag may carry the state of MONAI Label's Reviewer."""
    return tag in (FINAL, ORIGINAL) or _REVIEWER_TAG.fullmatch(tag) is not None


def _is_approved(info: Mapping[str, Any]) -> bool:
    meta = info.get("segmentationMeta")
    approved = isinstance(meta, Mapping) and meta.get("status") == "approved"
    return approved and info.get("status") != REJECTED

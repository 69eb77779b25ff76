"""Results of scoring in the info of an image: written and read.

Clients may write anything into an image's info, so nothing in it is taken for granted. `None` stands where there is
no number: NaN would make every later listing of the datastore fail.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore

UNCERTAINTY = "uncertainty"
"""Key in the info of an image."""


@dataclass(frozen=True)
class UncertaintyRecord:
    """Uncertainty of some weights about a scan.

    Attributes:
        weights_sha256: of the weights that scored it.
        file: which state of the scan's file was scored; see `file_stamp`.
        score: mean mutual information in nats, lesion and brain; None when the scan cannot be segmented.
        reason: why it cannot; None otherwise.
        descriptor: what the scan looks like (`strokelabel.selection.descriptor`); empty when it cannot be segmented.
        scored: seconds since the epoch.
    """

    weights_sha256: str
    file: str
    score: float | None
    reason: str | None
    descriptor: tuple[float, ...]
    scored: int

    def as_info(self) -> dict[str, Any]:
        """Return an update for an image's info."""
        return {UNCERTAINTY: asdict(self) | {"descriptor": list(self.descriptor)}}

    def fits(self, weights_sha256: str, file: str) -> bool:
        """Return whether it is about these weights and this state of the file."""
        return self.weights_sha256 == weights_sha256 and self.file == file


def read_record(info: Mapping[str, Any]) -> UncertaintyRecord | None:
    """Return the record in an image's info; None when there is none, or it was not written by scoring."""
    entry = info.get(UNCERTAINTY)
    if not isinstance(entry, dict) or not isinstance(entry.get("weights_sha256"), str):
        return None
    reason, scored = entry.get("reason"), entry.get("scored")
    return UncertaintyRecord(
        weights_sha256=entry["weights_sha256"],
        file=str(entry.get("file", "")),
        score=float(entry["score"]) if _finite(entry.get("score")) else None,
        reason=reason if isinstance(reason, str) else None,
        descriptor=_finite_numbers(entry.get("descriptor")),
        scored=int(scored) if isinstance(scored, (int, float)) and _finite(scored) else 0,
    )


def _finite_numbers(numbers: object) -> tuple[float, ...]:
    """Return a list of numbers; () if it holds anything else. Thousands are read for one request."""
    try:
        usable = isinstance(numbers, list) and math.isfinite(math.fsum(numbers))
    except (TypeError, ValueError, OverflowError):
        return ()
    return tuple(map(float, numbers)) if usable else ()  # type: ignore[call-overload]


def file_stamp(path: str) -> str:
    """Return a value that changes when a file, or a folder of DICOM files, does; "" when it is gone."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}"


def image_stamp(datastore: Datastore, image: str) -> str:
    """Return the `file_stamp` of an image; its id where images never change, so that none is downloaded for it.

    Raises:
        HTTPException: the datastore cannot say.
    """
    if getattr(datastore, "images_never_change", False):
        return image
    return file_stamp(datastore.get_image_uri(image))


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

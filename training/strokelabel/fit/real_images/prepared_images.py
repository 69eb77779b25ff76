"""Real slices and scans of a prepared folder, as training reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strokelabel.errors import DataError
from strokelabel.fit.real_images.scans import PreparedScan, load_scan
from strokelabel.fit.real_images.slices import RealSlices, load_slices

FOLDER = "real-images"
"""Name of the folder inside a prepared folder."""

DESCRIPTION = "dataset.json"
"""Name of the file in it that lists slices and scans."""


@dataclass(frozen=True)
class RealImages:
    """Real images of a prepared folder, in memory.

    Attributes:
        slices: one entry for each file of slices.
        scans: by name.
        digest: SHA-256 over all sources; it changes when the data does. Empty where there are none.
    """

    slices: tuple[RealSlices, ...]
    scans: tuple[PreparedScan, ...]
    digest: str

    @classmethod
    def load(cls, prepared: Path) -> RealImages:
        """Read the real images of a prepared folder; none if it was prepared without.

        Raises:
            DataError: a part of them is missing or damaged.
        """
        folder = Path(prepared) / FOLDER
        content = describe(folder)
        if content is None:
            return cls((), (), "")
        slices = tuple(load_slices(folder / "slices" / f"{name}.npz") for name in content["slices"])
        scans = tuple(load_scan(folder / "scans" / f"{name}.npz") for name in content["scans"])
        return cls(slices, scans, content["digest"])


def describe(folder: Path) -> dict[str, Any] | None:
    """The description of real images; None where there are none.

    Raises:
        DataError: it is damaged.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            "slices": [str(name) for name in content["slices"]],
            "scans": [str(name) for name in content["scans"]],
            "digest": str(content["digest"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected a list of prepared slices and scans, which could not be read ({error}); delete it and "
            "run `strokelabel prepare` again"
        ) from error

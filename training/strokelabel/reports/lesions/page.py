"""A page per scan with its lesion: pictures, numbers, notes, and what made them; one file that needs no other."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from jinja2 import DictLoader, Environment, StrictUndefined

from strokelabel.hashing import content_of
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.segment.prediction import Prediction
from strokelabel.io import Image, atomic_path, atomic_write_text
from strokelabel.io.file_search import printable
from strokelabel.io.volumes import scan_content
from strokelabel.reports.lesions.pictures import LesionPictures, draw_lesion

FOLDER: Final = "report"
"""Folder of the pages, in that of the results."""

INDEX_NAME: Final = "report.html"
"""List of all pages, in the folder of the results."""

_ONE_SIDED: Final = 0.95
"""Share of a lesion that lies on one side for the lesion to be called left or right."""

_LESION_ONLY: Final = 2
"""Classes of a model that knows no tissues: background and lesion."""


@lru_cache
def templates() -> Environment:
    """Return the templates of pages; whatever a file or a scan says is escaped."""
    folder = files("strokelabel.reports.lesions") / "templates"
    texts = {
        one.name: one.read_text(encoding="utf-8") for one in folder.iterdir() if one.name.endswith(".j2")
    }
    return Environment(
        loader=DictLoader(texts),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@dataclass(frozen=True)
class LesionPages:
    """Pages of a folder of results.

    Attributes:
        folder: of the results; pages go into its folder `report`.
    """

    folder: Path

    def names(self, names: ResultNames) -> list[str]:
        """Return the files of one scan."""
        stem = names.mask.removesuffix(".nii.gz")
        return [f"{FOLDER}/{stem}.html", f"{FOLDER}/{stem}.webp"]

    def write(
        self, prediction: Prediction, image: Image, names: ResultNames, sidecar: Mapping[str, Any]
    ) -> None:
        """Write the page of one scan, and a small picture for the index.

        Args:
            prediction: on the grid of `image`.
            image: the scan.
            names: of its results; the mask is there already.
            sidecar: of the mask.

        Raises:
            OutputError: a file cannot be written.
        """
        pictures = draw_lesion(image, prediction.lesion_mask, prediction.lesion_probability)
        page, small = (self.folder / name for name in self.names(names))
        page.parent.mkdir(parents=True, exist_ok=True)
        scan = Path(image.source)
        sums = {scan.name: scan_content(scan), names.mask: content_of(self.folder / names.mask)}
        side = lesion_side(prediction, image)
        with atomic_path(small) as temporary:
            temporary.write_bytes(pictures.thumbnail)
        atomic_write_text(page, lesion_page(image, sidecar, pictures, side, sums, f"../{INDEX_NAME}"))


def lesion_side(prediction: Prediction, image: Image) -> str:
    """Return the side of the brain that a lesion lies on, by the middle of the brain that was recognised.

    The middle is that of the brain's extent from left to right along the scan's axis nearest to it, so that it is a
    guide only in a head that is turned much.

    Returns:
        "left" or "right" with the share of the lesion there; "both sides"; "" for no lesion, or for a model without
        tissues.
    """
    lesion, brain = prediction.lesion_mask > 0, prediction.labels > 0
    if not lesion.any() or len(prediction.spec.class_names) <= _LESION_ONLY:
        return ""
    to_right = image.affine[0, :3]
    axis = int(np.abs(to_right / image.grid.spacing).argmax())
    others = tuple(other for other in range(3) if other != axis)
    extent = np.flatnonzero(brain.any(axis=others))
    middle = (extent[0] + extent[-1]) / 2
    counts, positions = lesion.sum(axis=others), np.arange(lesion.shape[axis])
    beyond = float(counts[positions > middle].sum() / counts.sum())
    right = beyond if to_right[axis] > 0 else 1 - beyond
    name, share = ("right", right) if right > 0.5 else ("left", 1 - right)
    return f"{name} ({100 * share:.0f} %)" if share >= _ONE_SIDED else "both sides"


def lesion_page(
    image: Image,
    sidecar: Mapping[str, Any],
    pictures: LesionPictures,
    side: str,
    sums: Mapping[str, str],
    index: str = "",
) -> str:
    """Return the page of one scan, as HTML.

    Args:
        image: the scan.
        sidecar: of its mask.
        pictures: of its lesion.
        side: see `lesion_side`.
        sums: SHA-256 by file name; "" where there is none.
        index: address of the list of all pages; "" for none.
    """
    details = [
        line for value in sidecar.values() if isinstance(value, dict) for line in value.get("text", ())
    ]
    return (
        templates()
        .get_template("lesion.html.j2")
        .render(
            name=printable(Path(image.source).name),
            source=printable(image.source),
            shape=image.grid.shape,
            spacing_mm=image.grid.spacing,
            side=side,
            index=index,
            details=details,
            options=shown_options(sidecar["options"]),
            sums={printable(name): value for name, value in sums.items() if value},
            pictures={name: as_data(getattr(pictures, name)) for name in ("slices", "views", "probability")},
            **{key: sidecar[key] for key in _FROM_SIDECAR},
        )
    )


_FROM_SIDECAR: Final = (
    "volume_ml", "lesion_count", "largest_lesion_ml", "notes", "threshold", "strokelabel_version", "model",
    "model_version", "weights_sha256",
)  # fmt: skip


def shown_options(options: Mapping[str, Any]) -> dict[str, str]:
    """Return options as text; those that are not set are left out."""
    shown = {}
    for name, value in options.items():
        if value is None:
            continue
        if isinstance(value, bool):
            value = "yes" if value else "no"
        shown[name.replace("_", " ")] = (
            " to ".join(map(str, value)) if isinstance(value, list) else str(value)
        )
    return shown


def as_data(picture: bytes) -> str:
    """Return a picture as an address that holds it."""
    return "data:image/webp;base64," + base64.b64encode(picture).decode("ascii")

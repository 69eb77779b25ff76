"""Place of a scan's lesion in ICBM space, by the tissues around it, and the judgement of that registration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from strokelabel.errors import RegistrationError
from strokelabel.fit.pseudo_labels.lesions import align_with_icbm, fraction_inside, place_in_icbm
from strokelabel.geometry import Grid
from strokelabel.labels import TissueClass
from strokelabel.synthesis.prepared.icbm import icbm_template
from strokelabel.synthesis.prepared.registration import Registration
from strokelabel.synthesis.prepared.source_files import crop_to_mask
from strokelabel.types import LabelVolume

LEAST_SHOWN: Final = 0.75
"""Fraction of the template's brain that a scan must show: a slab does not say how large a head is."""

LEAST_SIMILARITY: Final = 0.925
"""Correlation of the tissues with the template after registration.

17 scans of adults, of all contrasts, reach 0.930 to 0.950. Brains with a wrong header reach 0.92 when turned half
around (left on the right, front at the back), and 0.84 upside down; a child's reached 0.90.
"""

LEAST_OVERLAP: Final = 0.935
"""Dice of the brain and the template's after registration, outside the lesion and within the scan: 0.944 to 0.970 in
those adults, up to 0.932 with a wrong header.
"""

SCALES: Final = (0.75, 1.4)
"""Least and greatest scale from a head to the template, along any axis."""

MOST_UNEQUAL: Final = 1.35
"""Greatest ratio of two scales, shear included."""

MOST_TURNED_DEG: Final = 45.0
"""A head that lies turned further in its scanner is taken for a wrong header."""

LEAST_INSIDE: Final = 0.8
"""Fraction of the lesion that must lie in or near the template's brain."""

_STEP: Final = 4
"""Overlaps are measured at every fourth voxel of the template along each axis."""


@dataclass(frozen=True, eq=False)
class Placement:
    """A lesion on the ICBM 1 mm grid.

    Attributes:
        offset: index on that grid of the first voxel of `mask`.
        mask: (x, y, z), the lesion's bounding box.
        to_icbm: RAS mm of the scan to ICBM RAS mm, (4, 4).
        similarity: correlation of the tissues with the template, outside the lesion.
        overlap: Dice of the brains, outside the lesion.
        scales: least and greatest scale of the affine map, along any direction.
    """

    offset: tuple[int, int, int]
    mask: NDArray[np.bool_]
    to_icbm: NDArray[np.float64]
    similarity: float
    overlap: float
    scales: tuple[float, float]

    def as_json(self) -> dict[str, Any]:
        """Return the registration as JSON would hold it."""
        return {
            "method": "affine, of the tissues around the lesion",
            "similarity": round(self.similarity, 4),
            "brain_overlap": round(self.overlap, 4),
            "scales": [round(scale, 4) for scale in self.scales],
            "to_icbm": np.round(self.to_icbm, 5).tolist(),
        }


def place_lesion(labels: LabelVolume, grid: Grid) -> Placement:
    """Bring a lesion to ICBM space by the affine registration of the tissues around it.

    The tissues are painted as in a T1-weighted scan and compared with the template everywhere but in the lesion and
    3 mm around it, so that neither the scan's contrast nor the lesion's matters.

    Args:
        labels: `TissueClass` of each voxel, (i, j, k), the lesion included, on a grid of any orientation and spacing.
        grid: that grid. Left and right are those of its header.

    Raises:
        RegistrationError: there is no lesion, or the registration cannot be trusted; says why.
    """
    lesion = labels == TissueClass.LESION
    if not lesion.any():
        raise RegistrationError("no lesion was found")
    found = align_with_icbm(labels, grid, masked=True)
    if found is None:
        raise RegistrationError("hardly any brain was found in the scan")
    scales = _check_plausible(found)
    overlap = _check_overlap(labels, np.linalg.inv(found.to_icbm @ grid.affine))
    index_to_icbm = found.to_icbm @ grid.affine
    inside = fraction_inside(lesion, index_to_icbm)
    if inside < LEAST_INSIDE:
        raise RegistrationError(
            f"only {inside:.0%} of the lesion lie in the brain of ICBM space after registration, expected "
            f"{LEAST_INSIDE:.0%}"
        )
    offset, mask = crop_to_mask(place_in_icbm(lesion, index_to_icbm))
    return Placement(offset, mask, found.to_icbm, found.similarity, overlap, scales)


def _check_plausible(found: Registration) -> tuple[float, float]:
    """Return the least and greatest scale of a registration that may be that of a head."""
    linear = found.to_icbm[:3, :3]
    left, scales, right = np.linalg.svd(linear)
    turned = np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1)))
    least, most = float(scales.min()), float(scales.max())
    if np.linalg.det(linear) <= 0 or least < SCALES[0] or most > SCALES[1] or most > MOST_UNEQUAL * least:
        raise RegistrationError(
            f"the registration to ICBM space would scale the head by {least:.2f} to {most:.2f}, expected "
            f"{SCALES[0]:g} to {SCALES[1]:g} and about the same along all axes"
        )
    if turned > MOST_TURNED_DEG:
        raise RegistrationError(
            f"the registration to ICBM space would turn the head by {turned:.0f} degrees, expected at most "
            f"{MOST_TURNED_DEG:.0f}"
        )
    if found.similarity < LEAST_SIMILARITY:
        raise RegistrationError(
            f"the tissues correlate with those of ICBM space by {found.similarity:.2f} after registration, expected "
            f"{LEAST_SIMILARITY:g}; is its header right?"
        )
    return least, most


def _check_overlap(labels: LabelVolume, icbm_to_index: NDArray[np.float64]) -> float:
    """Return the Dice of the brains, within the scan and outside the lesion, if enough of the brain is shown."""
    template = icbm_template()
    points = np.argwhere(np.ones(template.shape, bool)[::_STEP, ::_STEP, ::_STEP]) * _STEP
    brain = template.brain[::_STEP, ::_STEP, ::_STEP].ravel()
    to_index = icbm_to_index @ template.affine
    index = np.rint(points @ to_index[:3, :3].T + to_index[:3, 3]).astype(np.intp)
    shown = ((index >= 0) & (index < labels.shape)).all(axis=1)
    if (part := float(shown[brain].mean())) < LEAST_SHOWN:
        raise RegistrationError(
            f"the scan shows {part:.0%} of the brain, expected {LEAST_SHOWN:.0%} to place it in ICBM space"
        )
    found = labels[tuple(index[shown].T)]
    compared = found != TissueClass.LESION
    ours, theirs = (found > 0)[compared], brain[shown][compared]
    overlap = float(2 * (ours & theirs).sum() / max(ours.sum() + theirs.sum(), 1))
    if overlap < LEAST_OVERLAP:
        raise RegistrationError(
            f"the brain overlaps with that of ICBM space by {overlap:.2f} (Dice) after registration, expected "
            f"{LEAST_OVERLAP:g}"
        )
    return overlap

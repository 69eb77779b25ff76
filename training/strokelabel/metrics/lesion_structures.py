"""Structures that a lesion lies in: ml and share of each, by side and by region, and the intracranial volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from strokelabel.geometry import Grid
from strokelabel.metrics.overlap import check_same_shape
from strokelabel.structures import LESION, Structure
from strokelabel.types import LabelVolume

SIDES: Final = ("left", "right", "midline")
"""Sides of structures; left and right are the patient's."""

REGIONS: Final = ("cortical", "subcortical", "brainstem", "cerebellar", "fluid")
"""Regions of structures; subcortical are the white matter of the cerebrum and its deep gray matter."""

_REGION_IDS: Final[Mapping[str, frozenset[int]]] = {
    "cortical": frozenset({3, 42}),
    "brainstem": frozenset({16}),
    "cerebellar": frozenset({7, 8, 46, 47}),
    "fluid": frozenset({4, 5, 14, 15, 24, 43, 44}),
}

_BEYOND_CM, _MOST_BEYOND = 0.5, 0.01
"""A volume counts as cut off where 5 mm more of it behind the faces of the scan would be more than 1 % of it.

A scan that ends just at the vertex cuts a cap from the brain whose volume is far less than that.
"""


_DESCRIBED = 6
"""Structures that a description names; the others are summed up."""

_FEW = 10.0
"""Percentages below have a decimal."""


_LITTLE_BRAIN_ML = 100.0


def little_brain_note(brain_ml: float) -> tuple[str, ...]:
    """Return a note where hardly any brain was found; else none."""
    if brain_ml >= _LITTLE_BRAIN_ML:
        return ()
    return (f"only {brain_ml:.1f} ml of brain were recognised: check the orientation and the picture",)


def region_of(structure: Structure) -> str:
    """Return the region of a structure, of `REGIONS`."""
    return next((name for name, ids in _REGION_IDS.items() if structure.id in ids), "subcortical")


@dataclass(frozen=True)
class AffectedStructure:
    """A structure that a lesion touches.

    Attributes:
        structure: which.
        lesion_ml: volume of the lesion in it.
        structure_ml: its volume, as far as the scan shows it.
        cut_off: it continues outside the scan, so that a share of it is not known.
    """

    structure: Structure
    lesion_ml: float
    structure_ml: float
    cut_off: bool

    @property
    def region(self) -> str:
        """Region of the structure, of `REGIONS`."""
        return region_of(self.structure)

    @property
    def lesion_percent(self) -> float | None:
        """Percentage of the structure that is lesion; None where the structure is cut off."""
        return None if self.cut_off else 100 * self.lesion_ml / self.structure_ml

    def describe(self) -> str:
        """Return a line for users."""
        share = "cut off" if self.lesion_percent is None else _percent(self.lesion_percent)
        return f"{self.structure.name} {_ml(self.lesion_ml)} ({share})"


@dataclass(frozen=True)
class LesionStructures:
    """Structures that a lesion touches.

    Attributes:
        lesion_ml: volume of the lesion: the sum over `structures` and `outside_ml`.
        outside_ml: volume of the lesion outside all structures.
        structures: those with a voxel of lesion, most ml first.
        intracranial_ml: volume of all structures together, fluid included, as far as the scan shows it.
        cut_off: brain continues outside the scan, so that the intracranial volume is not known.
    """

    lesion_ml: float
    outside_ml: float
    structures: tuple[AffectedStructure, ...]
    intracranial_ml: float
    cut_off: bool

    @property
    def lesion_percent(self) -> float | None:
        """Lesion in per cent of the intracranial volume; None where that is cut off or zero."""
        if self.cut_off or not self.intracranial_ml:
            return None
        return 100 * self.lesion_ml / self.intracranial_ml

    @property
    def side_ml(self) -> dict[str, float]:
        """Volume of the lesion on each side, ml, by `SIDES`."""
        return {side: sum(s.lesion_ml for s in self.structures if s.structure.side == side) for side in SIDES}

    @property
    def region_ml(self) -> dict[str, float]:
        """Volume of the lesion in each region, ml, by `REGIONS`."""
        return {name: sum(s.lesion_ml for s in self.structures if s.region == name) for name in REGIONS}

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for users: what the scan does not show, and a parcellation that found hardly any brain."""
        notes = [*little_brain_note(self.intracranial_ml)]
        if self.cut_off:
            notes.append(
                f"the brain is cut off by the field of view: {self.intracranial_ml:.0f} ml of the intracranial volume "
                "are shown, and the lesion's share of it is not known"
            )
        return tuple(notes)

    def describe(self) -> tuple[str, ...]:
        """Return lines for users: share of the intracranial volume, sides, regions, and the first structures."""
        sides = [(side, ml) for side, ml in self.side_ml.items() if ml]
        regions = [(region, ml) for region, ml in self.region_ml.items() if ml]
        outside = [("outside all structures", self.outside_ml)] if self.outside_ml else []
        both = "both sides: " if {"left", "right"} <= dict(sides).keys() else ""
        shown, others = self.structures[:_DESCRIBED], self.structures[_DESCRIBED:]
        more = f"{len(others)} more {_ml(sum(one.lesion_ml for one in others))}" if others else ""
        lines = [
            self._share_of_intracranial(),
            both + _listed([*sides, *outside]),
            _listed(regions),
            *(one.describe() for one in shown),
            more,
        ]
        return tuple(line for line in lines if line)

    def _share_of_intracranial(self) -> str:
        if self.cut_off:
            return "intracranial volume cut off by the field of view"
        if self.lesion_percent is None:
            return "no brain was found"
        return f"{_percent(self.lesion_percent)} of the intracranial volume, {self.intracranial_ml:.0f} ml"

    def as_json(self) -> dict[str, Any]:
        """Return the table, its sums and their description as JSON would hold them; unknown shares are None."""
        return {
            "intracranial_ml": None if self.cut_off else round(self.intracranial_ml, 3),
            "lesion_percent_of_intracranial": _rounded(self.lesion_percent),
            "lesion_ml": round(self.lesion_ml, 4),
            "side_ml": {side: round(ml, 4) for side, ml in self.side_ml.items()},
            "region_ml": {region: round(ml, 4) for region, ml in self.region_ml.items()},
            "outside_ml": round(self.outside_ml, 4),
            "structures": [
                {
                    "name": one.structure.name,
                    "side": one.structure.side,
                    "region": one.region,
                    "lesion_ml": round(one.lesion_ml, 4),
                    "structure_ml": None if one.cut_off else round(one.structure_ml, 4),
                    "lesion_percent_of_structure": _rounded(one.lesion_percent),
                }
                for one in self.structures
            ],
            "notes": list(self.notes),
            "text": list(self.describe()),
        }


def _ml(ml: float) -> str:
    return f"{ml:.1f} ml" if ml >= 1 else f"{ml:.2f} ml"


def _percent(percent: float) -> str:
    return f"{percent:.0f} %" if percent >= _FEW else f"{percent:.1f} %"


def _listed(parts: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {_ml(ml)}" for name, ml in parts)


def _rounded(percent: float | None) -> float | None:
    return None if percent is None else round(percent, 3)


def lesion_structures(
    lesion: np.ndarray,
    labels: LabelVolume,
    structures: Sequence[Structure],
    grid: Grid,
    intracranial_ml: float | None = None,
) -> LesionStructures:
    """Return the structures that a lesion touches, by counting voxels.

    Args:
        lesion: (i, j, k), true (or not zero) inside the lesion.
        labels: (i, j, k), FreeSurfer's numbers; what lies beneath the lesion is labelled as if there were none.
        structures: that `labels` may hold; background 0 and a lesion's own number count as no structure.
        grid: of both.
        intracranial_ml: the volume that the parcellation says, which is a sum of probabilities; None for that of the
            labels, where there is nothing else.

    Raises:
        DimensionError: the shapes differ.
    """
    check_same_shape(lesion, labels)
    voxel_ml, length = grid.voxel_volume_ml, 1 + max(255, *(one.id for one in structures))
    real = [one for one in structures if one.id not in (0, LESION.id)]
    ids = [one.id for one in real]
    all_ml = np.bincount(labels.ravel(), minlength=length) * voxel_ml
    hit = np.bincount(labels[lesion > 0], minlength=length)
    beyond_ml = _BEYOND_CM * _sections_cm2(labels, grid, length)
    cut = beyond_ml > _MOST_BEYOND * all_ml
    affected = [
        AffectedStructure(one, float(hit[one.id]) * voxel_ml, float(all_ml[one.id]), bool(cut[one.id]))
        for one in real
        if hit[one.id]
    ]
    counted_ml = float(all_ml[ids].sum())
    if intracranial_ml is None or not counted_ml:
        intracranial_ml = counted_ml
    return LesionStructures(
        lesion_ml=float(hit.sum()) * voxel_ml,
        outside_ml=float(hit.sum() - hit[ids].sum()) * voxel_ml,
        structures=tuple(sorted(affected, key=lambda one: -one.lesion_ml)),
        intracranial_ml=intracranial_ml,
        cut_off=bool(beyond_ml[ids].sum() > _MOST_BEYOND * counted_ml),
    )


def _sections_cm2(labels: LabelVolume, grid: Grid, length: int) -> np.ndarray:
    """Return the area of each label on the six faces of a scan together."""
    sections = np.zeros(length)
    for axis in range(3):
        one, other = np.delete(grid.affine[:3, :3], axis, axis=1).T
        voxel_cm2 = float(np.linalg.norm(np.cross(one, other))) / 100
        for index in (0, -1):
            face = np.moveaxis(labels, axis, 0)[index]
            sections += np.bincount(face.ravel(), minlength=length) * voxel_cm2
    return sections

"""Explanation of an outcome by two maps, and its checks: an outcome that one region decides, and shuffled outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelabel.errors import DataError, OptionError
from strokelabel.outcome.explanation.saliency import Painted, Saliency, network_saliency
from strokelabel.outcome.explanation.symptom_map import SymptomMap, cells_to_icbm, symptom_map
from strokelabel.outcome.loads import FINE_MM, fine_shape
from strokelabel.outcome.networks.pictures import Pictures, default_stitched_canvas, region_boxes
from strokelabel.outcome.networks.specs import STITCHED_CNN
from strokelabel.outcome.patients import Outcome
from strokelabel.outcome.predictors import Cohort
from strokelabel.synthesis.prepared.icbm import icbm_template

Volume = NDArray[np.float32]
OnProgress = Callable[[int], None]

_HIGHER_IS_WORSE: Final = {"nihss": True, "language": False}

_SMOOTHED_CELLS: Final = 2
"""Loads are smoothed with an SD of one cell, which makes one place of about two."""

_FIRST_STRIDE: Final = 2
"""Of the network's first convolution: two pixels are one to all that follows."""


@dataclass(frozen=True, eq=False)
class Map:
    """A map on the ICBM 1 mm grid.

    Attributes:
        name: for files.
        title: for pictures.
        unit: of the values.
        values: (x, y, z); zero where nothing was tested.
        threshold: values above it are significant; NaN where this was not tested.
        p: of the greatest value, corrected for all places.
        resolution_mm: distance within which the map cannot tell places apart.
    """

    name: str
    title: str
    unit: str
    values: Volume
    threshold: float
    p: float
    resolution_mm: int

    @property
    def significant(self) -> NDArray[np.bool_]:
        """Voxels in which the map is significant, (x, y, z)."""
        return self.values > self.threshold


@dataclass(frozen=True, eq=False)
class Target:
    """Outcome to explain.

    Attributes:
        title: for pictures.
        worse: (patients,) greater for worse.
    """

    title: str
    worse: NDArray[np.float64]

    @property
    def classes(self) -> NDArray[np.bool_]:
        """True for patients in the worse half; where the median is the least value, those above it."""
        middle = float(np.median(self.worse))
        return self.worse > middle if middle == self.worse.min() else self.worse >= middle


def outcome_target(outcome: Outcome, cohort: Cohort) -> Target:
    """Return the outcome itself, turned so that greater is worse."""
    sign = 1.0 if _HIGHER_IS_WORSE[outcome.name] else -1.0
    return Target(outcome.title, sign * cohort.values)


def shuffled(target: Target, seed: int) -> Target:
    """Return the outcome with patients shuffled, which nothing can explain."""
    return Target(f"shuffled {target.title}", np.random.default_rng(seed).permutation(target.worse))


def planted_target(cohort: Cohort, region: str) -> Target:
    """Return an outcome that damage to one region decides: the root of the fraction of its box that is lesion.

    Raises:
        OptionError: no such region.
        DataError: no patient, or all, have damage there.
    """
    inside = region_mask(region)
    padded = np.zeros([size * FINE_MM for size in fine_shape()], dtype=bool)
    padded[tuple(slice(0, size) for size in inside.shape)] = inside
    blocks = padded.reshape([part for size in fine_shape() for part in (size, FINE_MM)])
    weight = blocks.mean(axis=(1, 3, 5)).ravel()
    damage = np.sqrt(cohort.cells @ weight / inside.sum())
    if damage.max() == damage.min():
        raise DataError(f"expected damage to {region} in some patients, found the same in all")
    return Target(f"planted damage: {region}", damage)


def region_mask(region: str) -> NDArray[np.bool_]:
    """Return the box of a region on the ICBM grid, (x, y, z).

    Raises:
        OptionError: no such region.
    """
    boxes = dict(region_boxes())
    if region not in boxes:
        raise OptionError(f"expected one of the regions {'; '.join(boxes)}, got {region!r}")
    low, high = boxes[region]
    inside = np.zeros(icbm_template().shape, dtype=bool)
    inside[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return inside


def distance_mm(region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return each voxel's distance from a region, mm, zero inside, (x, y, z)."""
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(~region)
    return distance.astype(np.float32)


def share_near(found: Map, distance: NDArray[np.float32], margin_mm: float, *, significant: bool) -> float:
    """Return the share of a map's positive values that lies near a region; NaN where there are none.

    Args:
        found: the map.
        distance: (x, y, z) from the region, see `distance_mm`.
        margin_mm: greatest distance; 0 for inside.
        significant: count only what is significant.
    """
    values = np.where(found.significant if significant else found.values > 0, found.values, 0)
    total = float(values.sum())
    return float(values[distance <= margin_mm].sum()) / total if total else float("nan")


def map_symptoms(
    cohort: Cohort, target: Target, permutations: int, on_progress: OnProgress
) -> tuple[SymptomMap, Map]:
    """Map lesions to symptoms, see `symptom_map`."""
    found = symptom_map(cohort, target.worse, permutations, on_progress=on_progress)
    return found, Map(
        "symptom-map",
        f"lesion-symptom map of {target.title}",
        "z",
        cells_to_icbm(found.cells, found.z),
        found.threshold,
        found.p,
        _SMOOTHED_CELLS * FINE_MM,
    )


def map_saliency(
    pictures: Pictures, target: Target, permutations: int, on_progress: OnProgress
) -> tuple[Saliency, Map]:
    """Map what the light network on stitched sections looks at, see `network_saliency`."""
    canvas = default_stitched_canvas()
    painted = Painted(pictures.ids, pictures.kinds["stitched"], pictures.facts, canvas.template)
    found = network_saliency(STITCHED_CNN, painted, target.classes, permutations, on_progress=on_progress)
    pixel = canvas.tiles[0].mm
    return found, Map(
        "saliency",
        f"saliency of a light CNN for {target.title}",
        "log odds per mille",
        canvas.to_icbm(1000 * found.mean),
        1000 * found.threshold,
        found.p,
        _FIRST_STRIDE * pixel,
    )

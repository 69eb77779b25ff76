"""Affine registration of a label map to ICBM space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage

from strokelabel.errors import LabelMapError
from strokelabel.geometry.rigid_registration import matrix_of, on_index_grid
from strokelabel.labels import BRAIN_GROUPS, LabelTable
from strokelabel.synthesis.prepared.icbm import icbm_template
from strokelabel.types import Affine

T1_INTENSITY: dict[str, float] = {"white": 0.87, "gray": 0.65, "ventricle": 0.28, "csf": 0.28}
"""Mean grey value of the template in each tissue; everything else is zero, as the template is skull-stripped."""

WORKING_SPACING_MM = 4
"""Registration runs at this resolution: at 2 mm the result differs by 0.1 mm and takes ten times as long."""

_SEED = 1
"""ITK moves sampled points by less than a voxel at random."""

_COMPARED = 0.9
"""Fraction of a coarse voxel that must count for the voxel to be compared; 3 mm around a lesion do not."""

MINIMUM_SIMILARITY = 0.8
"""Correlation below which an alignment deserves a look; brains of healthy adults reach 0.9 and more."""


@dataclass(frozen=True)
class Registration:
    """Position of a brain in ICBM space.

    Attributes:
        to_icbm: RAS mm of the label map to ICBM RAS mm, (4, 4).
        similarity: correlation of the painted label map with the template after alignment, up to 1.
    """

    to_icbm: Affine
    similarity: float


def register_to_icbm(
    labels: NDArray[np.uint8], affine: Affine, table: LabelTable, source: str
) -> Registration:
    """Find the affine map from a label map's world to ICBM space.

    Deterministic: every voxel is used and one thread sums them up.

    Args:
        labels: index of each voxel's label in the table, (x, y, z), axes close to RAS, 1 mm.
        affine: voxel index to RAS mm.
        table: the meaning of the indices.
        source: named in errors.

    Raises:
        LabelMapError: there is no brain in the map, or left labels lie on the right.
    """
    brain = brain_mask(labels, table)
    if not brain.any():
        raise LabelMapError(f"{source}: expected brain tissue (white, gray or ventricle labels), found none")
    registration = register_picture(paint_t1(labels, table), brain, affine)
    _check_sides(labels, registration.to_icbm @ affine, table, source)
    return registration


def register_picture(
    picture: NDArray[np.float32],
    brain: NDArray[np.bool_],
    affine: Affine,
    compared: NDArray[np.bool_] | None = None,
    share: float = 1.0,
) -> Registration:
    """Find the affine map from a picture of a brain, painted as a T1-weighted scan, to ICBM space.

    Args:
        picture: grey values of `T1_INTENSITY`, zero outside the brain, (x, y, z), axes close to RAS, 1 mm.
        brain: where the brain is, not empty, (x, y, z).
        affine: voxel index to RAS mm.
        compared: where the picture is compared with the template, (x, y, z): not in a lesion, which the template lacks
            (Brett et al. 2001, cost function masking). None for everywhere.
        share: of the template's voxels that are compared, evenly spread. A quarter takes 3 s of one core instead of
            12 s, and differs by 0.4 mm.
    """
    comparison = _Comparison(None if compared is None else _coarse_mask(compared, affine), share)
    from_icbm, similarity = _optimise(picture, brain, affine, comparison)
    return Registration(np.linalg.inv(from_icbm), similarity)


def brain_mask(labels: NDArray[np.uint8], table: LabelTable) -> NDArray[np.bool_]:
    """Return True where a label belongs to the brain itself (not to sulcal CSF, skull or skin), (x, y, z)."""
    inside = np.array([label.group in BRAIN_GROUPS for label in table.labels])
    return inside[labels]


def paint_t1(labels: NDArray[np.uint8], table: LabelTable) -> NDArray[np.float32]:
    """Paint a label map with the grey values of a skull-stripped T1-weighted scan, (x, y, z), 0 to 1."""
    values = np.array([T1_INTENSITY.get(label.group, 0.0) for label in table.labels], dtype=np.float32)
    return values[labels]


def _optimise(
    painted: NDArray[np.float32],
    brain: NDArray[np.bool_],
    affine: Affine,
    comparison: _Comparison,
) -> tuple[Affine, float]:
    """Return the affine map from ICBM RAS mm to the brain's RAS mm, and the correlation it reaches."""
    template = icbm_template()
    fixed, fixed_affine = _coarsen(template.image, template.affine)
    moving, moving_affine = _coarsen(painted, affine)
    icbm_centre = _centre_of_mass(template.brain, template.affine)
    shift = _centre_of_mass(brain, affine) - icbm_centre

    start = SimpleITK.Similarity3DTransform()
    start.SetCenter(icbm_centre.tolist())
    start.SetTranslation(shift.tolist())
    fixed_image = _on_diagonal_grid(fixed, fixed_affine)
    moving_image, to_moving = on_index_grid(moving, moving_affine)
    _register(fixed_image, moving_image, to_moving, start, (2, 1), comparison)

    general = SimpleITK.AffineTransform(3)
    general.SetCenter(start.GetCenter())
    general.SetMatrix(start.GetMatrix())
    general.SetTranslation(start.GetTranslation())
    similarity = _register(fixed_image, moving_image, to_moving, general, (2,), comparison)
    return matrix_of(general), similarity


@dataclass(frozen=True)
class _Comparison:
    """Voxels at which pictures are compared: those of a mask in the brain's index space, and a share of them."""

    mask: SimpleITK.Image | None
    share: float

    def restrict(self, method: SimpleITK.ImageRegistrationMethod) -> None:
        """Compare at these voxels only."""
        if self.mask is not None:
            method.SetMetricMovingMask(self.mask)
        if self.share < 1:
            method.SetMetricSamplingStrategy(method.REGULAR)
            method.SetMetricSamplingPercentage(self.share, _SEED)


def _register(
    fixed: SimpleITK.Image,
    moving: SimpleITK.Image,
    to_moving: SimpleITK.AffineTransform,
    start: SimpleITK.Transform,
    shrink: tuple[int, ...],
    comparison: _Comparison,
) -> float:
    """Optimise the parameters of `start` in place, coarse to fine, and return the correlation."""
    method = SimpleITK.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsCorrelation()
    method.SetInterpolator(SimpleITK.sitkLinear)
    comparison.restrict(method)
    # Plain gradient descent diverges here: its first step turns the matrix too far. A line search cannot.
    method.SetOptimizerAsConjugateGradientLineSearch(
        learningRate=1.0,
        numberOfIterations=30,
        convergenceMinimumValue=1e-6,
        convergenceWindowSize=5,
        lineSearchLowerLimit=0.0,
        lineSearchUpperLimit=2.0,
        lineSearchEpsilon=0.05,
        lineSearchMaximumIterations=8,
        estimateLearningRate=method.EachIteration,
        maximumStepSizeInPhysicalUnits=2.0,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(list(shrink))
    method.SetSmoothingSigmasPerLevel([float(WORKING_SPACING_MM * (factor - 1)) / 2 for factor in shrink])
    method.SetMovingInitialTransform(to_moving)
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    return -float(method.GetMetricValue())


def _coarsen(volume: NDArray[np.float32], affine: Affine) -> tuple[NDArray[np.float32], Affine]:
    """Blur and take every few voxels of a 1 mm volume."""
    step = WORKING_SPACING_MM
    blurred = ndimage.gaussian_filter(volume, sigma=0.5 * step, mode="constant")
    return blurred[::step, ::step, ::step], affine @ np.diag([step, step, step, 1.0])


def _coarse_mask(compared: NDArray[np.bool_], affine: Affine) -> SimpleITK.Image:
    """Return where coarse voxels are made of compared voxels alone, or nearly so, in index space."""
    fraction, coarse_affine = _coarsen(compared.astype(np.float32), affine)
    return on_index_grid((fraction > _COMPARED).astype(np.uint8), coarse_affine)[0]


def _on_diagonal_grid(volume: NDArray[np.float32], affine: Affine) -> SimpleITK.Image:
    """Return a SimpleITK image whose physical space is RAS mm itself, for an affine without rotation."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.transpose(2, 1, 0)))
    image.SetSpacing(np.diag(affine)[:3].tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def _centre_of_mass(mask: NDArray[np.bool_], affine: Affine) -> NDArray[np.float64]:
    return affine[:3, :3] @ np.array(ndimage.center_of_mass(mask)) + affine[:3, 3]


def _check_sides(labels: NDArray[np.uint8], index_to_icbm: Affine, table: LabelTable, source: str) -> None:
    """Check that left labels lie at x < 0. A wrong header would put every lesion on the wrong side."""
    mean_x = {}
    for side in ("left", "right"):
        of_side = np.array([label.side == side and label.group in BRAIN_GROUPS for label in table.labels])[
            labels
        ]
        if of_side.any():
            mean_x[side] = float(_centre_of_mass(of_side, index_to_icbm)[0])
    if mean_x.get("left", -1.0) >= 0 or mean_x.get("right", 1.0) <= 0:
        found = ", ".join(f"{side} at x = {x:.0f} mm" for side, x in mean_x.items())
        raise LabelMapError(
            f"{source}: expected left labels at x < 0 in ICBM space, found {found}; "
            "the header's left-right direction contradicts the labels, correct one of them"
        )

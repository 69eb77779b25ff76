"""Position of a sequence relative to a scan of the same session: by their headers, or by registration.

Sequences of one session share the scanner's space, unless the patient moved, or a program has rewritten a header.
Headers do not say that they are wrong, so the brains are compared that the network finds in both: it finds them in
any contrast. Where they do not lie in one place, the sequence is registered to the scan, rigidly and by intensities,
and the same comparison then says whether to believe the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from scipy import ndimage

from strokelabel.errors import ImageError, MissingPackageError
from strokelabel.inference.network_input import ShownScan
from strokelabel.metrics import largest_component
from strokelabel.types import Affine, ChannelVolume, Mask, Volume

_LEAST_COVERED = 0.1
"""A sequence that shows less than this fraction of the brain adds nothing."""

_SAME_PLACE = 0.92
"""Dice of the brains of two sequences from which on they lie in one place.

Measured with base 0.4.0 on six pairs of real sequences of one examination: 0.960 to 0.979. Shifted by 6 mm, 0.914 to
0.932; by 9 mm, 0.885 to 0.903. Two visits of one patient, without registration: 0.72.
"""

_CLOSE_MM = 3.0
"""Registrations that move the brain less than this agree: as far as thick slices allow."""

_WHOLE = 0.75
"""Only brains of which the smaller has this fraction of the larger's volume are registered: a part fits anywhere."""

_START_TURN_DEG = 10.0

_LEAST_SHARE = 1e-3
"""Fraction of a voxel that a sequence must cover to count there."""

_COARSE_MM, _FINE_MM = 8.0, 4.0
"""Distance of the points that a registration compares, coarse and then fine.

On real pairs that were moved by 12 mm and 8 degrees, the result is within 1.2 mm of the truth.
"""


@dataclass(frozen=True, eq=False)
class Alignment:
    """Position of a sequence relative to a scan.

    Attributes:
        to_sequence: RAS mm of the scan to RAS mm of the sequence, (4, 4); the identity where headers are believed.
        moved_mm: mean distance by which a registration moves the brain, mm; None where headers are believed.
        turned_deg: angle by which it turns it.
        overlap_before, overlap_after: Dice of the brains by the headers, and after registration.
    """

    to_sequence: Affine
    moved_mm: float | None = None
    turned_deg: float = 0.0
    overlap_before: float = 1.0
    overlap_after: float = 1.0


def align(
    scan: ShownScan, scan_logits: ChannelVolume, sequence: ShownScan, logits: ChannelVolume
) -> Alignment:
    """Find the position of a sequence relative to a scan.

    Args:
        scan: as the network is shown it.
        scan_logits: (classes, x, y, z), of one pass over it.
        sequence: another scan of the session.
        logits: of one pass over it.

    Raises:
        ImageError: it does not show the scan's brain, or is at another position and no registration is to be
            believed.
    """
    brain, other = _brain(scan_logits), _brain(logits)
    knows_brain = len(scan.spec.class_names) > 2  # else it finds nothing but lesions
    if not knows_brain or not brain.any():
        if _covered(brain if knows_brain else np.zeros_like(brain), sequence, scan) < _LEAST_COVERED:
            raise ImageError("its field of view does not overlap with the scan's brain")
        return Alignment(np.eye(4))
    if not other.any():
        raise ImageError("no brain was recognised in it")
    before = _overlap(brain, other, sequence, scan, np.eye(4))
    if before >= _SAME_PLACE:
        return Alignment(np.eye(4), overlap_before=before, overlap_after=before)
    return _registered(scan, brain, sequence, other, before)


def resampled(
    values: ChannelVolume, sequence: ShownScan, scan: ShownScan, to_sequence: Affine
) -> tuple[ChannelVolume, Volume]:
    """Return values of a sequence's box on the grid of a scan's box.

    Args:
        values: (channels, x, y, z), in the sequence's box.
        sequence, scan: as the network is shown them.
        to_sequence: RAS mm of the scan to RAS mm of the sequence.

    Returns:
        The values (channels, x, y, z), and the fraction of each voxel that the sequence covers (x, y, z).
    """
    source, target = (one.box.grid(one.canonical.target) for one in (sequence, scan))
    voxel_of = np.linalg.inv(source.affine) @ to_sequence @ target.affine

    def moved(channel: Volume) -> Volume:
        found: Volume = ndimage.affine_transform(
            channel, voxel_of, output_shape=target.shape, order=1, mode="grid-constant", output=np.float32
        )
        return found

    weight = moved(np.ones(source.shape, np.float32))
    shares = np.maximum(weight, np.float32(_LEAST_SHARE))
    result = np.empty((len(values), *target.shape), np.float32)
    for index, channel in enumerate(values):
        result[index] = moved(channel) / shares
    return result, weight * (weight > _LEAST_SHARE)


def _registered(scan: ShownScan, brain: Mask, sequence: ShownScan, other: Mask, before: float) -> Alignment:
    """Register a sequence to the scan from two starts, and return the result if there is reason to believe it."""
    where = f"by the headers their brains overlap by {before:.2f} alone (Dice)"
    volumes = sorted(mask.sum() * one.spec.spacing_mm**3 for mask, one in ((brain, scan), (other, sequence)))
    if volumes[0] < _WHOLE * volumes[1]:
        raise ImageError(
            f"{where}, and one of them shows a part of it only, which cannot be registered safely; "
            "register it to the scan first"
        )
    try:
        from strokelabel.geometry.rigid_registration import register_rigidly  # SimpleITK is needed here alone
    except ModuleNotFoundError as error:
        raise ImageError(f"{where}; {MissingPackageError.of(error, 'registration')}") from error
    fixed, moving = (one.box.grid(one.canonical.target).affine for one in (scan, sequence))
    start = np.eye(4)
    start[:3, 3] = _center(other, moving) - _center(brain, fixed)
    search = partial(register_rigidly, scan.volume, fixed, sequence.volume, moving, brain)
    motions = [start, _turned(start, _center(brain, fixed), _START_TURN_DEG)]
    for step_mm in (_COARSE_MM, _FINE_MM):
        motions = [search(motion, step_mm) for motion in motions]
        apart = _distance_mm(motions[0], motions[1], brain, fixed)
        if apart <= _CLOSE_MM:
            break
    if apart > _CLOSE_MM:
        raise ImageError(
            f"{where}, and two registrations from different starts lie {apart:.0f} mm apart; "
            "register it to the scan first"
        )
    motion = search(motions[0], _FINE_MM)
    moved = _distance_mm(motion, np.eye(4), brain, fixed)
    after = _overlap(brain, other, sequence, scan, motion)
    if moved <= _CLOSE_MM:  # the brains differ, but they lie in one place
        return Alignment(np.eye(4), overlap_before=before, overlap_after=before)
    if after < max(_SAME_PLACE, before):
        raise ImageError(
            f"{where}, and by {after:.2f} after registration, which is too little to be believed; "
            "register it to the scan first"
        )
    return Alignment(motion, moved, _angle_deg(motion), before, after)


def _brain(logits: ChannelVolume) -> Mask:
    """Return the largest piece (x, y, z) of what is not background."""
    return largest_component(logits.argmax(axis=0) > 0)


def _covered(brain: Mask, sequence: ShownScan, scan: ShownScan) -> float:
    """Return the fraction of the brain that a sequence shows; of everything where there is no brain."""
    _, weight = resampled(np.zeros((0, *sequence.volume.shape)), sequence, scan, np.eye(4))
    region = brain if brain.any() else np.ones_like(brain)
    return float((weight > 0.5)[region].mean())


def _overlap(brain: Mask, other: Mask, sequence: ShownScan, scan: ShownScan, to_sequence: Affine) -> float:
    """Return the Dice of two brains within what both show; 0 where that is hardly any of the scan's."""
    moved, weight = resampled(other.astype(np.float32)[np.newaxis], sequence, scan, to_sequence)
    covered = weight > 0.5
    here, there = brain & covered, (moved[0] > 0.5) & covered
    if here.sum() < _LEAST_COVERED * brain.sum():
        return 0.0
    return float(2 * (here & there).sum() / (here.sum() + there.sum()))


def _center(mask: Mask, affine: Affine) -> np.ndarray:
    """Return the middle (3,) of a mask, RAS mm."""
    return affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]


def _turned(start: Affine, center: np.ndarray, degrees: float) -> Affine:
    """Return a motion that turns about x and a centre, as a head nods, before it moves."""
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = center - turn[:3, :3] @ center
    return start @ turn


def _distance_mm(first: Affine, second: Affine, brain: Mask, affine: Affine) -> float:
    """Return the mean distance, mm, between where two motions take the corners of the brain's box."""
    voxels = np.argwhere(brain)
    corners = np.array(list(product(*zip(voxels.min(axis=0), voxels.max(axis=0), strict=True))))
    places = np.c_[corners @ affine[:3, :3].T + affine[:3, 3], np.ones(len(corners))]
    return float(np.linalg.norm((places @ (first - second).T)[:, :3], axis=1).mean())


def _angle_deg(motion: Affine) -> float:
    """Return the angle of a rotation."""
    return float(np.rad2deg(np.arccos(np.clip((np.trace(motion[:3, :3]) - 1) / 2, -1, 1))))

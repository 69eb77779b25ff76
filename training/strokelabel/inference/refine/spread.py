"""Change of the mask around one click or stroke.

The voxels that look like the prompt, lie near it, and are joined to it take its label. How they look is learnt from
the mask and the prompt as histograms, in turns with the labels themselves (as GrabCut does: Rother et al. 2004,
section 3.2); the mask and the model's probability are what is believed where the prompt says little; a random
walker makes one region of it all. Only voxels that contradict the prompt change, and only towards it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from strokelabel.inference.refine.prompts import LESION, NOT_LESION, RefineOptions
from strokelabel.inference.refine.walker import (
    Appearance,
    Neighbourhood,
    RandomWalker,
    block_means,
    neighbourhood,
)
from strokelabel.io import Image
from strokelabel.metrics import label_lesions
from strokelabel.types import LabelVolume, Mask, Volume

_ROUNDS = 3
_SMOOTHING_MM = 0.8
_PATCH_MM = 3.0
"""Radius about the seeds in which voxels show what the prompt means, the nearer the more."""

_PATCH_DEVIATION_MM = 2.0

_PATCH_SHARE = 0.5
"""Share of the patch in the histogram of its label."""

_TRUST_LESION_PROMPT, _TRUST_OTHER_PROMPT = 1.5, 0.5
"""Log odds of the mask's labels far from a prompt that says lesion, and from one that says not lesion."""

_EVIDENCE_WEIGHT = 1.0
_PROBABILITY_WEIGHT = 0.5
_AT_PROMPT = 2.0
"""Log odds that the prompt itself adds where it is."""

_SIMILAR_DEVIATIONS = 2.0
_LEAST_DEVIATION = 0.05
"""Of the neighbourhood's range of intensities: patches are never taken for more uniform than this."""

_EDGE_NOISES = 1.5
_PRIOR_WEIGHT = 0.0375
"""Per mm²: the prior is followed over the same millimetres whatever the voxel size."""

_CERTAIN = 0.98


@dataclass(frozen=True, eq=False)
class Scene:
    """A neighbourhood's voxels (x, y, z): intensity, the mask's labels, the model's probability, what is given."""

    intensity: Volume
    labels: Volume
    probability: Volume | None
    fixed: Volume


@dataclass(frozen=True)
class Influence:
    """Reach of a prompt, in mm: large for clicks deep inside a wrong region.

    Attributes:
        core: within it the prompt is believed whatever the intensities.
        range: over which its word loses weight.
    """

    core: float
    range: float

    @classmethod
    def of(cls, wrong: Mask, place: Neighbourhood, lesion: bool) -> Influence:
        """Read it off the depth of the seeds in the region (x, y, z) that they contradict."""
        most = 6.0 if lesion else 20.0  # the outside of a lesion is deep everywhere, and says nothing
        padded = np.pad(wrong, 1, mode="edge")
        if padded.all():
            depth = most
        else:
            inside = ndimage.distance_transform_edt(padded, sampling=place.spacing)[1:-1, 1:-1, 1:-1]
            depth = min(float(inside[place.seeds].max()), most)
        return cls(core=4.0 if lesion else max(4.0, depth), range=12.0 + 2.5 * depth)


def spread_label(
    image: Image,
    mask: Mask,
    painted: LabelVolume,
    seeds: np.ndarray,
    lesion: bool,
    probability: Volume | None,
    options: RefineOptions,
) -> None:
    """Change a mask in place around the seeds of one prompt.

    Args:
        image: the scan.
        mask: (i, j, k) boolean.
        painted: (i, j, k) 0, 1 (lesion) or 2 (not lesion): what must not change. The seeds may be among it.
        seeds: (n, 3) voxel indices.
        lesion: what the prompt says that they are.
        probability: (i, j, k) of lesion, if there is one.
        options: reach and size of the neighbourhood.
    """
    grid = image.grid
    place = neighbourhood(seeds, grid.shape, grid.spacing, options.reach_mm, options.max_voxels)
    inside = tuple(slice(a, b) for a, b in zip(place.box.start, place.box.stop, strict=True))
    scene = Scene(
        intensity=place.coarse(image.data),
        labels=place.coarse(mask),
        probability=None if probability is None else place.coarse(probability),
        fixed=_fixed(place, painted[inside], lesion),
    )
    likely = place.fine(_lesion_probability(scene, place, lesion, options))
    view, contrary = mask[inside], painted[inside] == (NOT_LESION if lesion else LESION)
    seeded = np.zeros(view.shape, dtype=bool)
    seeded[tuple((seeds - place.box.start).T)] = True
    reached = _within_reach(place, options.reach_mm, view.shape)
    changed = ((likely > 0.5) == lesion) & (view != lesion) & reached & ~contrary
    view[_joined(changed | seeded, seeded)] = lesion


def _fixed(place: Neighbourhood, painted: LabelVolume, lesion: bool) -> Volume:
    """Return the probability (x, y, z) of lesion where it is given, by the prompt or by earlier paint; NaN
    elsewhere.
    """
    fixed = np.full(place.seeds.shape, np.nan, np.float32)
    for value, given in ((LESION, 1.0), (NOT_LESION, 0.0)):
        here = painted == value
        if here.any():
            fixed[block_means(here.astype(np.float32), place.factors) > 0] = given
    fixed[place.seeds] = 1.0 if lesion else 0.0
    return fixed


def _lesion_probability(scene: Scene, place: Neighbourhood, lesion: bool, options: RefineOptions) -> Volume:
    """Return the probability of lesion (x, y, z) after the prompt."""
    sign, intensity, labels = (1.0 if lesion else -1.0), scene.intensity, scene.labels
    wrong = labels < 0.5 if lesion else labels > 0.5
    influence = Influence.of(wrong, place, lesion)
    weight = np.exp(-place.distance_mm / influence.range)
    believed = _belief(scene, place, weight, sign)
    believed += sign * _AT_PROMPT * np.exp(-((place.distance_mm / influence.core) ** 2))
    smooth = ndimage.gaussian_filter(intensity, _SMOOTHING_MM / place.spacing)
    appearance = Appearance(smooth, place.distance_mm <= options.reach_mm)
    patch = _patch(place, wrong)
    similar = _similar(smooth, patch, appearance.spread) * weight
    current = labels + sign * similar * (1 - labels if lesion else labels)
    current[patch > 0] = 1.0 if lesion else 0.0
    edge = _edge(intensity, smooth, appearance.spread)
    prior_weight = _PRIOR_WEIGHT * float(place.spacing.min()) ** 2
    walker = RandomWalker(smooth, place.spacing, edge, prior_weight, scene.fixed)
    shown = appearance.histogram(patch)
    for _ in range(_ROUNDS):
        evidence = _evidence(appearance, current, shown, lesion)
        prior = 1 / (1 + np.exp(-(believed + _EVIDENCE_WEIGHT * weight * evidence)))
        found = walker.solve(prior.astype(np.float32))
        current = np.maximum(labels, found) if lesion else np.minimum(labels, found)
    return found


def _belief(scene: Scene, place: Neighbourhood, weight: Volume, sign: float) -> Volume:
    """Log odds of lesion before intensities: the mask far from the prompt, and the model.

    Where the model contradicts the prompt, its log odds are shifted until they do not: what it holds for as likely
    as the seeds is undecided.
    """
    trust = _TRUST_LESION_PROMPT if sign > 0 else _TRUST_OTHER_PROMPT
    belief = (2 * scene.labels - 1) * trust * (1 - weight)
    if scene.probability is not None:
        certain = np.clip(scene.probability, 1 - _CERTAIN, _CERTAIN)
        odds = np.log(certain / (1 - certain))
        mistaken = sign * min(sign * float(odds[place.seeds].mean()), 0.0)
        belief += _PROBABILITY_WEIGHT * (odds - mistaken * weight)
    return belief


def _patch(place: Neighbourhood, wrong: Mask) -> Volume:
    """Return the similarity of each voxel (x, y, z) to the prompt: close to the seeds and, if any are, contradicted."""
    close = place.distance_mm <= max(_PATCH_MM, float(place.spacing.min()))
    contradicted = close & wrong
    chosen = contradicted if contradicted.any() else close
    return chosen * np.exp(-0.5 * (place.distance_mm / _PATCH_DEVIATION_MM) ** 2)


def _similar(intensity: Volume, patch: Volume, spread: float) -> Volume:
    """Return the similarity of each voxel to the patch, 0 to 1."""
    mean = float(np.average(intensity, weights=patch))
    variance = float(np.average((intensity - mean) ** 2, weights=patch))
    deviation = _SIMILAR_DEVIATIONS * np.hypot(np.sqrt(variance), _LEAST_DEVIATION * spread)
    return np.exp(-0.5 * ((intensity - mean) / deviation) ** 2)


def _edge(intensity: Volume, smooth: Volume, spread: float) -> float:
    """Return the difference between neighbours that is an edge and not noise."""
    noise = 0.9 * float(np.median(np.abs(intensity - smooth)))
    return float(_EDGE_NOISES * np.hypot(noise, 0.01 * spread))


def _evidence(appearance: Appearance, current: Volume, shown: np.ndarray, lesion: bool) -> Volume:
    """Return the log-likelihood ratio (x, y, z) of lesion, by the current labels and the patch."""
    inside, outside = appearance.histogram(current), appearance.histogram(1 - current)
    if lesion:
        inside = (1 - _PATCH_SHARE) * inside + _PATCH_SHARE * shown
    else:
        outside = (1 - _PATCH_SHARE) * outside + _PATCH_SHARE * shown
    return appearance.evidence(inside, outside)


def _within_reach(place: Neighbourhood, reach_mm: float, shape: tuple[int, ...]) -> Mask:
    """Return the voxels (i, j, k) of the box that are near enough to change."""
    near = place.distance_mm <= reach_mm
    for axis, (factor, size) in enumerate(zip(place.factors, shape, strict=True)):
        near = near.repeat(factor, axis=axis).take(np.arange(size), axis=axis)
    return near


def _joined(region: Mask, seeded: Mask) -> Mask:
    """Return the parts of a region (26-connected) that contain a seed."""
    labels, count = label_lesions(region)
    kept = np.zeros(count + 1, dtype=bool)
    kept[labels[seeded]] = True
    kept[0] = False
    return kept[labels]

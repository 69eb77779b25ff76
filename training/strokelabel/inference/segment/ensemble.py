"""One prediction from all sequences of a subject: the mean of their logits on a common grid.

As in Chalcroft et al. 2025 ("multi-modal ensembling"). The sequences are taken to share the scanner's space, as those
of one BIDS session do; what does not overlap is left out, and the notes say so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from monai.networks.layers import AffineTransform
from torch import Tensor

from strokelabel.errors import ImageError
from strokelabel.inference.network_input import OnProgress, ShownScan, silent, trained_flips
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.inference.segment.scores import decide
from strokelabel.inference.segment.uncertainty import Uncertainty, passes_of
from strokelabel.inference.several_passes import PassSums
from strokelabel.io import Image

_LEAST_COVERED = 0.1
"""A sequence that shows less than this fraction of the brain adds nothing."""

_LEAST_SHARED = 0.5
"""Brains of two sequences that share less than this fraction of the smaller one are not in the same place."""


@dataclass(frozen=True)
class OtherSequence:
    """Another sequence of the subject, read when its turn comes, so that one is in memory at a time.

    Attributes:
        name: what a user calls it.
        load: reads it.
    """

    name: str
    load: Callable[[], Image]


@dataclass(frozen=True, eq=False)
class EnsemblePrediction:
    """Prediction from several sequences, on the grid of the first.

    Attributes:
        found: prediction, scores and maps; without `views` the passes are the sequences themselves.
        used: names of the sequences, the one whose grid this is first.
    """

    found: Uncertainty
    used: tuple[str, ...]


def predict_ensemble(
    predictor: Predictor,
    image: Image,
    others: Sequence[OtherSequence],
    options: PredictionOptions | None = None,
    views: bool = False,
    progress: OnProgress | None = None,
) -> EnsemblePrediction:
    """Predict a scan together with the other sequences of the session.

    Args:
        predictor: the model.
        image: the scan on whose grid the answer lies.
        others: further sequences; one that cannot be read or lies at another position is left out with a note.
        options: as for each sequence by itself; a CT window applies to all of them.
        views: show every sequence in several views, for maps of uncertainty that do not only say where the
            sequences differ.
        progress: told how far it is.

    Raises:
        ImageError: `image` itself cannot be segmented.
    """
    began = time.perf_counter()
    options, report = options or predictor.options, progress or silent
    scan = predictor.show(image, options)
    sums, count = PassSums(predictor.lesion), 0
    for logits in _passes(predictor, scan, options, views):
        sums.add(logits)
        count += 1
    used, notes = [image.source], list(scan.engine.notes)
    for done, other in enumerate(others, start=1):
        report("predicting the sequences", 0.9 * done / (len(others) + 1))
        try:
            count += _add(sums, predictor, scan, other, options, views)
            used.append(other.name)
        except ImageError as error:
            notes.append(f"left out {other.name}: {error}")
    scores = predictor.on_scan(sums.probabilities(), scan, image, options)
    scores = replace(scores, notes=tuple(dict.fromkeys([*scores.notes, *notes])))
    prediction = decide(scores, image.grid.voxel_volume_ml, predictor.spec, options)
    prediction = replace(prediction, seconds=time.perf_counter() - began)
    report("done", 1.0)
    found = Uncertainty(prediction, scores, sums.maps(scan), count, "sequences")
    return EnsemblePrediction(found, tuple(used))


def _passes(
    predictor: Predictor, scan: ShownScan, options: PredictionOptions, views: bool
) -> Iterator[Tensor]:
    """Yield the logits (classes, x, y, z) of each pass over one sequence."""
    if views:
        yield from passes_of(predictor, scan, "views")[0]
    else:
        yield scan.engine.mean_output(scan.item(), trained_flips(predictor.spec) if options.tta else ())


def _add(
    sums: PassSums,
    predictor: Predictor,
    scan: ShownScan,
    other: OtherSequence,
    options: PredictionOptions,
    views: bool,
) -> int:
    """Add the passes over another sequence; return how many.

    Raises:
        ImageError: it cannot be read, or does not lie where the scan does.
    """
    shown = predictor.show(other.load(), options)
    brain = torch.from_numpy(sums.probabilities().argmax(axis=0) > 0)
    count = 0
    for logits in _passes(predictor, shown, options, views):
        moved, weight = _resampled(logits, shown, scan)
        if count == 0:
            _check_overlap(moved, weight, brain, knows_brain=len(predictor.spec.class_names) > 2)
        sums.add(moved, weight)
        count += 1
    return count


def _resampled(logits: Tensor, shown: ShownScan, scan: ShownScan) -> tuple[Tensor, Tensor]:
    """Return the logits on the grid of another scan's box, and the fraction of each voxel that they cover (x, y, z)."""
    source, target = (one.box.grid(one.canonical.target) for one in (shown, scan))
    voxel_of = torch.from_numpy(np.linalg.inv(source.affine) @ target.affine).float()
    move = AffineTransform(
        target.shape,
        normalized=False,
        mode="bilinear",
        padding_mode="zeros",
        align_corners=True,
        reverse_indexing=True,
    )
    with_weight = torch.cat([logits, torch.ones_like(logits[:1])])[None]
    moved = move(with_weight, voxel_of[None])[0]
    weight = moved[-1]
    return moved[:-1] / weight.clamp_min(1e-3), weight * (weight > 1e-3)


def _check_overlap(logits: Tensor, weight: Tensor, brain: Tensor, knows_brain: bool) -> None:
    """Refuse a sequence that shows another place than the scan.

    Raises:
        ImageError: it covers hardly any of the scan's brain, or has its own brain elsewhere.
    """
    covered = weight > 0.5
    region = brain if brain.any() else torch.ones_like(brain)
    if (covered & region).sum() < _LEAST_COVERED * region.sum():
        raise ImageError("its field of view does not overlap with the scan's brain")
    here, there = brain & covered, (logits.argmax(dim=0) > 0) & covered
    smaller = min(int(here.sum()), int(there.sum()))
    if knows_brain and brain.any() and (here & there).sum() <= _LEAST_SHARED * smaller:
        raise ImageError("its brain is at another position than the scan's; register it to the scan first")

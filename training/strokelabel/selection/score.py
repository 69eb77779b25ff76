"""What is computed of a scan to decide whether it should be labelled next."""

from __future__ import annotations

from dataclasses import dataclass

from strokelabel.inference.predictor import Predictor
from strokelabel.inference.uncertainty import estimate_uncertainty, scan_uncertainty
from strokelabel.io.images import Image
from strokelabel.selection.descriptor import scan_descriptor


@dataclass(frozen=True)
class ScanScore:
    """How unsure a model is about a scan, and what the scan looks like.

    Attributes:
        uncertainty: mean mutual information in nats ("epistemic") where lesion is possible, plus that over the brain.
        lesion: the first of the two.
        brain: the second: a contrast that the model does not know shows there, even where no lesion is found.
        descriptor: see `scan_descriptor`.
    """

    uncertainty: float
    lesion: float
    brain: float
    descriptor: tuple[float, ...]


def score_scan(predictor: Predictor, image: Image) -> ScanScore:
    """Score a scan by some passes of the network over it.

    Args:
        predictor: the weights that would learn from the scan's label.
        image: from `read_image`.

    Raises:
        ImageError: the scan cannot be segmented.
    """
    estimate = estimate_uncertainty(predictor, image)
    found = scan_uncertainty(estimate)
    classes = len(predictor.spec.class_names)
    descriptor = scan_descriptor(image.data, estimate.prediction.labels, classes, image.grid.spacing)
    return ScanScore(found.lesion + found.brain, found.lesion, found.brain, descriptor)

"""Uncertainty of a network: the disagreement between several passes over one scan."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from strokelabel.errors import OptionError
from strokelabel.inference.network_input import OnProgress, ShownScan, normalized_item, report_passes, silent
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.prediction import Prediction, Scores, decide
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.inference.several_passes import PassSums, UncertaintyMaps, describe_views, views_of
from strokelabel.io import Image
from strokelabel.types import ChannelVolume, Volume

if TYPE_CHECKING:
    from torch import nn

Method = Literal["views", "dropout"]

DROPOUT_PASSES = 10
"""As many as the public SynthStroke code takes."""


@dataclass(frozen=True)
class Passes:
    """Passes over a scan whose disagreement is measured.

    Attributes:
        method: "views" shows the scan differently each time (see `several_passes.views_of`); "dropout" drops features
            at random, with a fixed seed, in networks that were trained so.
        count: how many; None for all views, and for `DROPOUT_PASSES`.

    Raises:
        OptionError: fewer than two, which cannot disagree.
    """

    method: Method = "views"
    count: int | None = None

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 2:
            raise OptionError(f"Expected two passes or more, whose answers can differ, got {self.count}.")


_LESION_POSSIBLE = 0.05
"""From this probability, or standard deviation of it between passes, on a voxel may be lesion."""

_LEAST_ML = 1.0


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """A prediction and how sure it is, on the scan's own grid.

    Attributes:
        prediction: from the softmax of the mean logits of all passes, as test-time augmentation gives it; with the
            mean probabilities of all classes where the options keep them.
        scores: what the prediction was decided from.
        maps: see `several_passes.UncertaintyMaps`; its maps are attributes here too.
        passes: how many.
        method: what the passes differ in: "flips", "flips, shifts, gamma", or "dropout".
    """

    prediction: Prediction
    scores: Scores
    maps: UncertaintyMaps
    passes: int
    method: str

    @property
    def predictive_entropy(self) -> Volume:
        """Entropy of the mean class probabilities, (i, j, k), nats."""
        return self.maps.predictive_entropy

    @property
    def mutual_information(self) -> Volume:
        """Disagreement of the passes, (i, j, k), nats."""
        return self.maps.mutual_information

    @property
    def lesion_variance(self) -> Volume:
        """Variance of the lesion's probability between passes, (i, j, k)."""
        return self.maps.lesion_variance


@dataclass(frozen=True)
class ScanUncertainty:
    """Uncertainty of a network about a whole scan, in nats; active learning ranks scans by it.

    Attributes:
        lesion: mean mutual information where lesion is possible, at least 1 ml of the brain: a scan in which
            nothing is possible is judged by its most likely millilitre, so that no scan is without a number.
        brain: mean mutual information over everything that is not background; 0 when no brain was recognised.
        possible_ml: volume in which lesion is possible.
    """

    lesion: float
    brain: float
    possible_ml: float


def estimate_uncertainty(
    predictor: Predictor,
    image: Image,
    options: PredictionOptions | None = None,
    method: Method = "views",
    progress: OnProgress | None = None,
    count: int | None = None,
) -> Uncertainty:
    """Predict a scan several times, and say where the answers differ.

    Only sums over passes are kept, on the grid that the network works on.

    Args:
        predictor: the model.
        image: from `read_image`.
        options: `tta` is not used: the passes decide.
        method, count: see `Passes`.
        progress: told how far it is.

    Raises:
        OptionError: as `check_passes`.
        ImageError: the scan cannot be segmented.
    """
    began = time.perf_counter()
    options, report = options or predictor.options, progress or silent
    passes = Passes(method, count)
    check_passes(predictor, passes)  # refused before anything is computed
    scan = predictor.show(image, options, report)
    sums = PassSums(predictor.lesion)
    outputs, name, total = passes_of(predictor, scan, passes)
    tell = report_passes(report)
    for done, output in enumerate(outputs, start=1):
        sums.add(output)
        tell(done, total)
    report("writing to the scan's grid", 0.9)
    scores = predictor.on_scan(sums.probabilities(), scan, image, options)
    prediction = decide(scores, image.grid.voxel_volume_ml, predictor.spec, options)
    maps = sums.maps(scan)
    report("done", 1.0)
    prediction = replace(prediction, seconds=time.perf_counter() - began)
    return Uncertainty(prediction, scores, maps, total, name)


def scan_uncertainty(uncertainty: Uncertainty) -> ScanUncertainty:
    """Summarise the maps of a scan in one number each."""
    prediction, information = uncertainty.prediction, uncertainty.mutual_information
    lesion, brain = prediction.lesion_probability, prediction.labels > 0
    possible = (lesion >= _LESION_POSSIBLE) | (uncertainty.lesion_variance >= _LESION_POSSIBLE**2)
    voxel_ml = prediction.voxel_volume_ml
    least = min(information.size, int(np.ceil(_LEAST_ML / voxel_ml)))
    judged = information[possible]
    if judged.size < least:
        judged = information.ravel()[np.argpartition(lesion.ravel(), -least)[-least:]]
    return ScanUncertainty(
        lesion=float(judged.mean(dtype=np.float64)),
        brain=float(information[brain].mean(dtype=np.float64)) if brain.any() else 0.0,
        possible_ml=float(np.count_nonzero(possible)) * voxel_ml,
    )


def dropout_layers(network: nn.Module) -> list[nn.Module]:
    """Return the layers of a network that drop features.

    Raises:
        OptionError: there are none, so that all passes would be the same.
    """
    from torch.nn.modules.dropout import _DropoutNd

    layers = [layer for layer in network.modules() if isinstance(layer, _DropoutNd) and layer.p > 0]
    if not layers:
        raise OptionError(
            "Expected a network that was trained with dropout for the method 'dropout', this one has none "
            "(like all published weights), so that its passes would not differ; use the method 'views'."
        )
    return list(layers)


def check_passes(predictor: Predictor, passes: Passes) -> None:
    """Refuse passes that a model cannot make.

    Raises:
        OptionError: "dropout" and a network without, or more views than there are.
    """
    if passes.method == "dropout":
        dropout_layers(predictor.network)
        return
    known = len(views_of(predictor.spec, predictor.multiple))
    if passes.count is not None and passes.count > known:
        raise OptionError(
            f"Expected at most {known} passes, as many as there are views for this model, got {passes.count}; "
            "leave the number out, or use the method 'dropout'."
        )


def passes_of(
    predictor: Predictor, scan: ShownScan, passes: Passes
) -> tuple[Iterator[ChannelVolume], str, int]:
    """Return the logits (classes, x, y, z) of each pass over a scan, the differences of the passes, and their number.

    Raises:
        OptionError: as `check_passes`.
    """
    check_passes(predictor, passes)
    if passes.method == "dropout":
        count = passes.count or DROPOUT_PASSES
        return _with_dropout(predictor.network, scan, count), "dropout", count
    views = views_of(predictor.spec, predictor.multiple)[: passes.count]
    outputs = (
        view.undo(scan.engine.output(normalized_item(view.apply(scan.volume), predictor.spec))[0])
        for view in views
    )
    return outputs, describe_views(views), len(views)


def _with_dropout(network: nn.Module, scan: ShownScan, count: int) -> Iterator[ChannelVolume]:
    import torch

    item = scan.item()
    with _dropping(network), torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(count):
            yield scan.engine.output(item)[0]


@contextmanager
def _dropping(network: nn.Module) -> Iterator[None]:
    """Drop features as in training, while all else stays in evaluation mode."""
    layers = dropout_layers(network)
    try:
        for layer in layers:
            layer.train()
        yield
    finally:
        for layer in layers:
            layer.eval()

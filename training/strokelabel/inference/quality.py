"""Quality of a parcellation without a reference: the Dice that a network expects of groups of structures.

As the quality control of SynthSeg 2.0 (Billot et al. 2023, "Robust machine learning segmentation for large-scale
analysis of heterogeneous clinical brain MRI datasets"): eight groups, both sides together. The network is shown the
scan and the parcellation in coarse voxels, axes to the right, the front and the top, whatever the scan's own are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from strokelabel.errors import UnknownModelError, WeightsError
from strokelabel.geometry import CanonicalGrid, CropBox
from strokelabel.inference.batch import ScanTable
from strokelabel.inference.network_input import brain_view, normalized_item
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.scan_model import ScanModel
from strokelabel.io import Image
from strokelabel.registry import QUALITY, QUALITY_MODEL, ModelSpec
from strokelabel.structures import (
    QUALITY_GROUPS,
    Structure,
    parcellation_structures,
    quality_classes,
    structures_of,
)
from strokelabel.types import ChannelVolume, LabelVolume

if TYPE_CHECKING:
    import torch
    from torch import nn

LOW_DICE: Final = 0.65
"""Below it, a parcellation should be looked at: SynthSeg 2.0's advice."""

QUALITY_NAME: Final = "quality.csv"
"""Table of the predicted Dice, a row per scan."""

QUALITY_KEY: Final = "quality"
"""Key of a parcellation's sidecar that holds the predicted Dice and what made them."""

_NAMED = 3
"""Structures that a message names at most."""


@dataclass(frozen=True)
class Quality:
    """Predicted Dice of one parcellation.

    Attributes:
        dice: from 0 to 1, by the group's name, in the order of `strokelabel.structures.QUALITY_GROUPS`.
        spec: the model that predicted them.
    """

    dice: dict[str, float]
    spec: ModelSpec

    @property
    def notes(self) -> tuple[str, ...]:
        """Warning that names the groups whose Dice is below `LOW_DICE`; empty if none is."""
        low = [f"{name} ({value:.2f})" for name, value in self.dice.items() if value < LOW_DICE]
        if not low:
            return ()
        return (
            f"the predicted Dice is below {LOW_DICE:g} for {', '.join(low)}: look at the parcellation before use",
        )

    def as_json(self) -> dict[str, Any]:
        """Return what the sidecar of the parcellation says."""
        return {
            **made_by(self.spec),
            "predicted_dice": {name: round(value, 4) for name, value in self.dice.items()},
        }


def made_by(spec: ModelSpec) -> dict[str, str]:
    """Return what identifies the model."""
    return {"model": spec.name, "model_version": spec.version, "weights_sha256": spec.sha256}


class QualityPredictor(ScanModel):
    """Prediction of the Dice of parcellations of scans of any contrast, orientation and spacing.

    Args:
        spec, network, device: see `ScanModel`; the network maps (1, 2 + groups, x, y, z) to (1, groups).
        options: the CT window; nothing else of it is used.

    Raises:
        WeightsError: the model is of another task, or of other groups.
    """

    task = QUALITY
    purpose = "predicts the quality of parcellations"

    def __init__(
        self,
        spec: ModelSpec,
        network: nn.Module,
        device: torch.device | str = "cpu",
        options: PredictionOptions | None = None,
    ) -> None:
        super().__init__(spec, network, device, options)
        if spec.class_names != tuple(QUALITY_GROUPS):
            raise WeightsError(
                f"expected a model of the groups {', '.join(QUALITY_GROUPS)}, this one is of "
                f"{', '.join(spec.class_names)}; use the release of StrokeLabel that wrote it",
                source=spec.path,
            )

    def predict(self, image: Image, labels: LabelVolume) -> Quality:
        """Predict the Dice of a parcellation of a scan.

        Args:
            image: the scan.
            labels: (i, j, k) FreeSurfer's numbers of the structures, on the grid of the scan.

        Raises:
            ImageError: the scan cannot be used, or the labels are not on its grid.
            LabelMapError: there are labels that are not SynthSeg's.
        """
        canonical, volume = self.canonical_volume(image, self.options.ct_window)
        classes = _coarse_classes(_classes_of(labels), canonical)

        def maps(box: CropBox) -> ChannelVolume:
            shown = box.crop(classes)
            return np.stack([shown == number for number in range(1 + len(QUALITY_GROUPS))]).astype(np.float32)

        spec = self.spec
        box = brain_view(volume, spec.spacing_mm, self.multiple, spec.field_of_view_mm, maps)
        shown = np.concatenate([normalized_item(box.crop(volume), spec), maps(box)[np.newaxis]], axis=1)
        dice = self._engine_network().run(shown)[0]
        return Quality(dict(zip(QUALITY_GROUPS, dice.tolist(), strict=True)), spec)

    def _advice(self, spec: ModelSpec) -> str:
        return f"train one with `strokelabel train {QUALITY_MODEL}`"


def _classes_of(labels: LabelVolume) -> np.ndarray:
    """Return the class of each voxel (i, j, k) uint8: see `quality_classes`."""
    ids = [int(label) for label in np.unique(labels)]
    table = np.zeros(max(ids) + 1, np.uint8)
    table[ids] = quality_classes(structures_of(ids))
    return table[labels]


def _coarse_classes(classes: np.ndarray, canonical: CanonicalGrid) -> np.ndarray:
    """Return the class (x, y, z) uint8 with the largest share of each canonical voxel."""
    found = np.zeros(canonical.target.shape, np.uint8)
    largest = canonical.forward((classes == 0).astype(np.float32))
    for number in range(1, 1 + len(QUALITY_GROUPS)):
        share = canonical.forward((classes == number).astype(np.float32))
        found[share > largest] = number
        np.maximum(largest, share, out=largest)
    return found


def load_quality_model(device: str, options: PredictionOptions) -> QualityPredictor:
    """Load the model `QUALITY_MODEL`.

    Raises:
        UnknownModelError: it is not installed; says how to train one.
        WeightsError, OptionError: it cannot be loaded.
    """
    try:
        return QualityPredictor.from_model(QUALITY_MODEL, device, options)
    except UnknownModelError as error:
        raise UnknownModelError(
            f"Quality control needs the model {QUALITY_MODEL!r}. {error.message}; `strokelabel train {QUALITY_MODEL}` "
            "and `strokelabel export` make one; or leave --qc out"
        ) from error


class QualityTable:
    """Quality control of a folder of parcellations, with its table.

    Attributes:
        table: the predicted Dice, a row per scan.

    Args:
        predictor: predicts the Dice.
        structures: of the parcellations.
        folder: where the table goes.

    Raises:
        WeightsError: there are structures that are not SynthSeg's.
        OutputError: the folder's table is something else.
    """

    def __init__(self, predictor: QualityPredictor, structures: Sequence[Structure], folder: Path) -> None:
        known = parcellation_structures()
        if others := [one.name for one in structures if one.id and one not in known]:
            raise WeightsError(
                "expected a parcellation in the structures of SynthSeg for quality control, this one has others "
                f"({', '.join(others[:_NAMED])}); leave --qc out"
            )
        self._predictor = predictor
        self.table = ScanTable(folder, QUALITY_NAME, ["source", *_columns(QUALITY_GROUPS)])

    def predict(self, image: Image, labels: LabelVolume) -> Quality:
        """Predict the Dice of one parcellation, and add its row.

        Args and errors as `QualityPredictor.predict`.

        Raises:
            OutputError: the table cannot be written.
        """
        quality = self._predictor.predict(image, labels)
        self._add(image.source, quality.as_json())
        return quality

    def known(self, source: str, sidecar: dict[str, Any]) -> bool:
        """Return whether the sidecar of a parcellation that is kept has Dice of the same model; adds its row then.

        Args:
            source: absolute path of the scan.
            sidecar: of the parcellation.
        """
        described = sidecar.get(QUALITY_KEY, {})
        if not made_by(self._predictor.spec).items() <= described.items():
            return False
        self._add(source, described)
        return True

    def _add(self, source: str, described: dict[str, Any]) -> None:
        dice = described["predicted_dice"]
        cells = zip(_columns(dice), dice.values(), strict=True)
        self.table.add({"source": source, **{name: f"{value:.4f}" for name, value in cells}})


def _columns(groups: Iterable[str]) -> list[str]:
    return [f"{name.replace(' ', '_')}_dice" for name in groups]

"""Options of a prediction, with the usual choice as default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from strokelabel.errors import OptionError

View = Literal["brain", "head"]

CT_WINDOW_HU: tuple[float, float] = (0.0, 80.0)
"""Hounsfield units between which a CT shows the brain."""


@dataclass(frozen=True)
class PredictionOptions:
    """Options of a prediction.

    Attributes:
        tta: average the logits over all flips that the network was trained with (test-time augmentation):
            eight times slower for all three axes, twice for left-right only.
        threshold: lesion where its probability is at least this; None: where lesion is the most likely class.
        min_size_ml: lesions (26-connected) smaller than this are dropped.
        fill_holes: voxels that a lesion encloses become lesion.
        keep_outside_brain: keep lesions that lie outside the brain, in the face and neck; they are dropped else, by
            models that know the tissues.
        ct_window: (low, high) in Hounsfield units to clip a CT to; None for any other scan.
        view: "brain" shows the network what it saw in training, its field of view around the brain (found
            by a first pass where the head is much larger); "head" shows it the whole head in one piece.
        keep_probabilities: keep the maps of all classes, not only of the lesion.
        max_voxels: largest box, in canonical voxels, to predict in one pass; None for what memory allows.
        overlap: fraction by which windows overlap, where one pass is not possible.

    Raises:
        OptionError: a value out of range.
    """

    tta: bool = False
    threshold: float | None = None
    min_size_ml: float = 0.0
    fill_holes: bool = False
    keep_outside_brain: bool = False
    ct_window: tuple[float, float] | None = None
    view: View = "brain"
    keep_probabilities: bool = True
    max_voxels: int | None = None
    overlap: float = 0.5

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise OptionError(
                f"Expected a lesion probability between 0 and 1 as threshold, got {self.threshold}; "
                "0.5 is usual, and none means the most likely class."
            )
        if not 0 <= self.min_size_ml < float("inf"):
            raise OptionError(f"Expected a smallest lesion size of 0 ml or more, got {self.min_size_ml}.")
        if self.ct_window is not None and not self.ct_window[0] < self.ct_window[1]:
            raise OptionError(f"Expected a CT window (low, high) with low < high, got {self.ct_window}.")
        if self.view not in ("brain", "head"):
            raise OptionError(f"Expected the view 'brain' or 'head', got {self.view!r}.")
        if self.max_voxels is not None and self.max_voxels < 1:
            raise OptionError(f"Expected at least one voxel in a pass, got {self.max_voxels}.")
        if not 0 <= self.overlap < 1:
            raise OptionError(f"Expected a window overlap of 0 to below 1, got {self.overlap}.")

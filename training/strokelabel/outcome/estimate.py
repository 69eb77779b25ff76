"""Estimate of an outcome for a predicted lesion, as lesion reports and servers tell it: a number with what drives it,
or a sentence that says why there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from strokelabel.errors import OptionError, RegistrationError
from strokelabel.fit.pseudo_labels.lesions import has_tissues
from strokelabel.geometry import Grid
from strokelabel.hashing import sha256_of_file
from strokelabel.outcome.loads import LesionLoads, cells_of, lesion_loads
from strokelabel.outcome.model_file import OutcomeModel, Prediction, load_outcome_model
from strokelabel.outcome.patients import ARTERIAL_REGIONS
from strokelabel.outcome.placement import Placement, place_lesion
from strokelabel.outcome.scores import NOMINAL_COVERAGE
from strokelabel.registry import find_outcome_model
from strokelabel.types import LabelVolume, PathLike


class StrokeStage(StrEnum):
    """Age of a stroke, which no file tells: the user does."""

    UNKNOWN = "unknown"
    ACUTE = "acute"
    CHRONIC = "chronic"


_DRIVERS: Final = 3
"""Regions that an estimate names."""

_LEAST_POINTS: Final = 0.05
"""A region whose lesion matters less is not named."""


@dataclass(frozen=True)
class Driver:
    """A region whose lesion drives an estimate.

    Attributes:
        region: of `patients.ARTERIAL_REGIONS`, side first.
        points: by which the estimate would be lower without the lesion in this region.
    """

    region: str
    points: float


@dataclass(frozen=True)
class Estimate:
    """Estimate of an outcome, for research; or the reason why there is none.

    Attributes:
        title: of the outcome.
        stage: of the stroke, as the user says.
        prediction: None where `reason` says why.
        drivers: the regions that matter most, first the one that matters most; fewer than three where fewer matter.
        placement: of the lesion in ICBM space; None where it was not needed, or failed.
        reason: sentence for users; "" with a prediction.
    """

    title: str
    stage: StrokeStage
    prediction: Prediction | None = None
    drivers: tuple[Driver, ...] = ()
    placement: Placement | None = None
    reason: str = ""

    def describe(self) -> tuple[str, ...]:
        """Return lines for users: the estimate with its interval, the regions that drive it, and notes."""
        found = self.prediction
        if found is None:
            return (f"no {self.title} is estimated: {self.reason}",)
        lines = [
            f"estimated {self.title} {found.value:.0f} ({NOMINAL_COVERAGE * 100:.0f} % interval {found.low:.0f} to "
            f"{found.high:.0f}); research use only"
        ]
        if self.drivers:
            named = ", ".join(f"{one.region} ({one.points:.1f})" for one in self.drivers)
            lines.append(f"driven by (points of {self.title}): {named}")
        return (*lines, *found.notes)

    def as_json(self) -> dict[str, Any]:
        """Return the estimate as JSON would hold it; numbers are None where there is no estimate."""
        found = self.prediction
        return {
            "outcome": self.title,
            "stroke_stage": self.stage.value,
            "use": "research",
            "value": None if found is None else round(found.value, 2),
            "low": None if found is None else round(found.low, 2),
            "high": None if found is None else round(found.high, 2),
            "coverage": NOMINAL_COVERAGE,
            "regions": [{"name": one.region, "points": round(one.points, 2)} for one in self.drivers],
            "reason": self.reason or None,
            "notes": [] if found is None else list(found.notes),
            "registration": None if self.placement is None else self.placement.as_json(),
            "text": list(self.describe()),
        }


class OutcomeEstimator:
    """Estimates of an outcome for predicted lesions.

    Attributes:
        name: of the model, or its file.
        sha256: check sum of its file.

    Args:
        model: that needs no age, which scans do not tell.
        name, sha256: see above.

    Raises:
        OptionError: the model needs an age.
    """

    def __init__(self, model: OutcomeModel, name: str, sha256: str) -> None:
        if model.age_range is not None:
            raise OptionError(
                f"expected an outcome model without age for lesion reports, {name} ({model.model.spec.name}) needs it; "
                "use `strokelabel outcome predict`, or fit a model without age"
            )
        self._model = model
        self.name, self.sha256 = name, sha256

    @classmethod
    def from_model(cls, name_or_path: PathLike) -> OutcomeEstimator:
        """Load a model by its name or file.

        Raises:
            UnknownModelError, WeightsError, OptionError: it cannot be used.
        """
        path = find_outcome_model(name_or_path)
        return cls(load_outcome_model(path), str(name_or_path), sha256_of_file(path))

    @property
    def made_by(self) -> dict[str, str]:
        """Model of the estimates, for sidecars and answers."""
        return {"model": self.name, "weights_sha256": self.sha256}

    def estimate(
        self, labels: LabelVolume, class_names: tuple[str, ...], grid: Grid, stage: StrokeStage
    ) -> Estimate:
        """Estimate the outcome of a predicted lesion.

        Args:
            labels: class of each voxel, (i, j, k), the lesion included.
            class_names: of the model that predicted them.
            grid: of the scan.
            stage: of the stroke, as the user says.
        """
        outcome = self._model.outcome
        if reason := self._refusal(class_names, stage):
            return Estimate(outcome.title, stage, reason=reason)
        try:
            placement = place_lesion(labels, grid)
        except RegistrationError as error:
            return Estimate(outcome.title, stage, reason=str(error))
        loads = lesion_loads(placement.offset, placement.mask)
        found = self._model.predict(loads)
        return Estimate(outcome.title, stage, found, self._drivers(placement, found.value), placement)

    def _refusal(self, class_names: tuple[str, ...], stage: StrokeStage) -> str:
        """Return why no lesion of this stage or model has an estimate; "" if it may have one."""
        needed = StrokeStage.ACUTE if self._model.outcome.acute else StrokeStage.CHRONIC
        if stage is StrokeStage.UNKNOWN:
            return f"its model is of {needed} strokes alone, and the stage of this one was not said"
        if stage is not needed:
            return f"its model is of {needed} strokes alone, and this one was said to be {stage}"
        if not has_tissues(class_names):
            return "the model that found the lesion predicts no tissues, by which it is placed in ICBM space"
        return ""

    @cached_property
    def _cell_regions(self) -> NDArray[np.int8] | None:
        return None if self._model.regions is None else self._model.regions.cell_regions()

    def _drivers(self, placement: Placement, value: float) -> tuple[Driver, ...]:
        """Return the regions without whose lesion the estimate would be lowest; none for a model without regions."""
        if self._cell_regions is None:
            return ()
        index = np.argwhere(placement.mask)
        regions = self._cell_regions[cells_of(index + np.asarray(placement.offset))]
        hit = [int(region) for region in np.unique(regions) if region >= 0]
        values = self._values([_without(placement, index[regions == region]) for region in hit])
        drops = sorted(
            ((value - other, region) for region, other in zip(hit, values, strict=True)), reverse=True
        )
        return tuple(
            Driver(region_title(region), drop) for drop, region in drops[:_DRIVERS] if drop >= _LEAST_POINTS
        )

    def _values(self, loads: Sequence[LesionLoads | None]) -> list[float]:
        """Return the estimate of each lesion; the least possible outcome where nothing is left of one."""
        left = [one for one in loads if one is not None]
        found = iter(self._model.predict_all(left, None)[0].tolist() if left else [])
        return [self._model.outcome.least if one is None else next(found) for one in loads]


def _without(placement: Placement, removed: NDArray[np.intp]) -> LesionLoads | None:
    """Return the loads of a lesion without some of its voxels; None if nothing is left."""
    mask = placement.mask.copy()
    mask[tuple(removed.T)] = False
    return lesion_loads(placement.offset, mask) if mask.any() else None


def region_title(index: int) -> str:
    """Return the name of an arterial region with its side first, such as "left middle cerebral, frontal"."""
    name, _, side = ARTERIAL_REGIONS[index].rpartition(", ")
    return f"{side} {name}"

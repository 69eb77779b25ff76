"""A fitted outcome model as one safetensors file: plain arrays and a description, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from strokelabel.errors import OptionError, WeightsError
from strokelabel.io.atomic import atomic_path
from strokelabel.outcome.evaluation import OnProgress, cross_validate, repeated_folds
from strokelabel.outcome.learners import KINDS, Scaler
from strokelabel.outcome.loads import TISSUES, LesionLoads
from strokelabel.outcome.models import REGRESSION, FittedModel, find_specs, fit_models, select_specs
from strokelabel.outcome.patients import OUTCOMES, Outcome
from strokelabel.outcome.predictors import Cohort, make_predictors
from strokelabel.outcome.protocol import REGRESSION_FOLDS
from strokelabel.outcome.regions import RegionMap
from strokelabel.outcome.scores import (
    IntervalRule,
    correlation_interval,
    coverage,
    regression_scores,
)
from strokelabel.registry import read_header

FORMAT: Final = "strokelabel-outcome-1"

_MOST_RIGHT: Final = 0.05
"""Fraction of a lesion across the midline that counts as none."""


@dataclass(frozen=True)
class Prediction:
    """An estimated outcome. For research.

    Attributes:
        value: estimate.
        low, high: prediction interval of nominally 90 %.
        notes: for users: what the model has seen nothing like.
    """

    value: float
    low: float
    high: float
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class OutcomeModel:
    """A model that predicts an outcome from a lesion mask in ICBM space and clinical facts.

    Attributes:
        outcome: what it predicts.
        model: the fitted function.
        rule: of prediction intervals.
        regions: estimate of arterial regions; None where the model does not need them.
        ml_range, age_range: of the patients that it was fitted to; ages None where it does not need them.
        n: those patients.
    """

    outcome: Outcome
    model: FittedModel
    rule: IntervalRule
    regions: RegionMap | None
    ml_range: tuple[float, float]
    age_range: tuple[float, float] | None
    n: int

    def predict(self, loads: LesionLoads, age: float | None = None) -> Prediction:
        """Return the estimated outcome of one patient.

        Args:
            loads: of the patient's lesion.
            age: years; needed where `age_range` is not None.

        Raises:
            OptionError: no age, though the model needs one.
        """
        ages = None if age is None else np.array([age])
        value, low, high = (float(part[0]) for part in self.predict_all([loads], ages))
        return Prediction(value, low, high, self._notes(loads, age))

    def predict_all(
        self, loads: Sequence[LesionLoads], ages: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the estimate and the lower and upper end of its interval for each patient, (patients,) each.

        Raises:
            OptionError: no ages, though the model needs them.
        """
        if self.age_range is not None and ages is None:
            raise OptionError(f"expected the age in years, which this model of {self.outcome.title} needs")
        cells = np.stack([one.cells for one in loads])
        arteries = self.regions.fractions(cells) if self.regions is not None else None
        found = self.model.predict(make_predictors(loads, ages, arteries))
        low, high = self.rule.bounds(found)
        return np.clip(found, self.outcome.least, self.outcome.most), low, high

    def _notes(self, loads: LesionLoads, age: float | None) -> tuple[str, ...]:
        notes = []
        if not self.ml_range[0] <= loads.ml <= self.ml_range[1]:
            notes.append(_outside(f"a lesion of {loads.ml:.1f} ml", self.ml_range, "ml"))
        if (
            self.age_range is not None
            and age is not None
            and not self.age_range[0] <= age <= self.age_range[1]
        ):
            notes.append(_outside(f"an age of {age:.0f} years", self.age_range, "years"))
        right_ml = loads.tissue_ml[TISSUES.index("right")]
        if self.outcome.left_only and right_ml > _MOST_RIGHT * loads.ml:
            notes.append(
                f"{right_ml:.1f} ml of the lesion are on the right; the model was fitted to strokes of the left alone: "
                "the estimate is an extrapolation"
            )
        return tuple(notes)


def _outside(what: str, limits: tuple[float, float], unit: str) -> str:
    return (
        f"{what} is outside what the model was fitted to ({limits[0]:.1f} to {limits[1]:.1f} {unit}): "
        "the estimate is an extrapolation"
    )


def fit_outcome_model(
    outcome: Outcome, name: str, cohort: Cohort, on_progress: OnProgress = lambda done: None
) -> OutcomeModel:
    """Fit a model and the rule of its intervals, by ten-fold cross-validation of these patients.

    Args:
        outcome: to predict.
        name: of the model, see `models.REGRESSION`.
        cohort: training patients; the lock box should not be among them.
        on_progress: called with the number of folds that are done.

    Raises:
        OptionError: no model of that name whose predictors are there.
        DataError: there are too few patients.
    """
    predictors, true = cohort.predictors(), cohort.values
    specs = select_specs(find_specs(outcome.name, predictors), name)
    folds = repeated_folds(cohort.ids, REGRESSION_FOLDS, 1)
    run = cross_validate(specs, predictors, true, folds, on_progress)
    rule = IntervalRule.fit(
        run.predicted[name][0], true, growing=outcome.least >= 0, limits=(outcome.least, outcome.most)
    )
    model = fit_models(specs, predictors, true, seed=0)[name]
    needs = specs[-1].needs({spec.name: spec for spec in specs})
    regions = None
    if "fractions" in needs and cohort.arteries is not None:
        regions = RegionMap.fit(cohort.cells, cohort.arteries)
    ages = cohort.ages if "age" in needs else None
    return OutcomeModel(
        outcome,
        model,
        rule,
        regions,
        _range(np.array([one.ml for one in cohort.loads])),
        None if ages is None else _range(ages),
        len(true),
    )


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def lock_box_scores(model: OutcomeModel, cohort: Cohort) -> dict[str, float]:
    """Return R and MAE of predictions as `strokelabel outcome predict` makes them, and the coverage of the intervals.

    Arterial regions are estimated from the masks, as for any new patient.

    Args:
        model: that has not seen these patients.
        cohort: of the lock box.
    """
    predicted, low, high = model.predict_all(cohort.loads, cohort.ages)
    true = cohort.values
    overall = correlation_interval(predicted[None], true)
    return {
        "n": float(len(true)),
        **regression_scores(predicted, true),
        "r_low": overall.low,
        "r_high": overall.high,
        "coverage": coverage(low, high, true),
        "mean_width": float((high - low).mean()),
    }


def save_outcome_model(model: OutcomeModel, path: Path) -> None:
    """Write a model, atomically.

    Raises:
        WeightsError: the name does not end in .safetensors.
        OutputError: the file cannot be written.
    """
    if path.suffix != ".safetensors":
        raise WeightsError("expected a name that ends in .safetensors", source=path)
    parts = model.model.members or ((1.0, model.model),)
    arrays: dict[str, NDArray[np.generic]] = {}
    for index, (_, part) in enumerate(parts):
        assert part.scaler is not None
        assert part.function is not None
        for group, owner in (("scaler", part.scaler), ("function", part.function)):
            arrays |= {f"{index}.{group}.{name}": one for name, one in owner.arrays().items()}
    if model.regions is not None:
        arrays |= {f"regions.{name}": one for name, one in model.regions.arrays().items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(
            save(
                {name: np.ascontiguousarray(one) for name, one in arrays.items()},
                metadata={"strokelabel": json.dumps(_description(model), sort_keys=True)},
            )
        )


def _description(model: OutcomeModel) -> dict[str, Any]:
    parts = model.model.members or ((1.0, model.model),)
    return {
        "format": FORMAT,
        "outcome": model.outcome.name,
        "model": model.model.spec.name,
        "parts": [
            {"name": part.spec.name, "kind": getattr(part.function, "kind", ""), "weight": weight}
            | {"setting": dict(part.setting or {})}
            for weight, part in parts
        ],
        "rule": asdict(model.rule),
        "ml_range": model.ml_range,
        "age_range": model.age_range,
        "n": model.n,
    }


def load_outcome_model(path: Path) -> OutcomeModel:
    """Read a model.

    Raises:
        WeightsError: the file is missing, damaged, or not of an outcome model.
    """
    header = read_header(path)
    try:
        described = json.loads(header["__metadata__"]["strokelabel"])
        if described["format"] != FORMAT:
            raise ValueError(f"its format is {described['format']!r}")
        return _from_file(described, load_file(path))
    except (KeyError, ValueError, TypeError, IndexError, SafetensorError) as error:
        raise WeightsError(
            f"expected a file of `strokelabel outcome fit`, which cannot be read ({error}); fit it again",
            source=path,
        ) from error


def _from_file(described: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> OutcomeModel:
    outcome = OUTCOMES[described["outcome"]]
    specs = {spec.name: spec for spec in REGRESSION[outcome.name]}
    parts = []
    for index, part in enumerate(described["parts"]):
        scaler = Scaler.from_arrays(_group(arrays, f"{index}.scaler."))
        function = KINDS[part["kind"]].from_arrays(_group(arrays, f"{index}.function."))
        fitted = FittedModel(specs[part["name"]], scaler, function, part["setting"])
        parts.append((float(part["weight"]), fitted))
    spec = specs[described["model"]]
    regions, ages = _group(arrays, "regions."), described["age_range"]
    return OutcomeModel(
        outcome,
        FittedModel(spec, members=tuple(parts)) if spec.members else parts[0][1],
        IntervalRule(**described["rule"]),
        RegionMap.from_arrays(regions) if regions else None,
        (float(described["ml_range"][0]), float(described["ml_range"][1])),
        None if ages is None else (float(ages[0]), float(ages[1])),
        int(described["n"]),
    )


def _group(arrays: Mapping[str, NDArray[np.generic]], prefix: str) -> dict[str, NDArray[np.generic]]:
    return {name.removeprefix(prefix): one for name, one in arrays.items() if name.startswith(prefix)}

"""Table of estimated outcomes of a folder of predictions: in the sidecar of each mask, and a row per scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from strokelabel.inference.batch import ScanTable
from strokelabel.inference.naming import ENSEMBLE_METHOD, ResultNames
from strokelabel.inference.network_input import OnProgress
from strokelabel.inference.segment.prediction import Prediction
from strokelabel.io import Image
from strokelabel.outcome.estimate import OutcomeEstimator, StrokeStage

KEY: Final = "estimated_outcome"
"""Key of a mask's sidecar that holds the estimate and what made it."""

_NUMBERS: Final = ("value", "low", "high")
_COLUMNS: Final = ("source", "mask", "outcome", "stroke_stage", *_NUMBERS, "regions", "reason", "notes")


class OutcomeTable:
    """Estimated outcomes of a folder of results.

    Attributes:
        table: of all scans.

    Args:
        estimator: estimates.
        stage: of the strokes, as the user says.
        folder: where masks and the table go.
        ensemble: the masks are made from all scans of a session.

    Raises:
        OutputError: the folder's table is something else.
    """

    key = KEY

    def __init__(
        self, estimator: OutcomeEstimator, stage: StrokeStage, folder: Path, ensemble: bool = False
    ) -> None:
        self._estimator, self._stage = estimator, stage
        name = f"{ENSEMBLE_METHOD}_outcomes.csv" if ensemble else "outcomes.csv"
        self.table = ScanTable(folder, name, _COLUMNS)

    def write(
        self, prediction: Prediction, image: Image, names: ResultNames, progress: OnProgress
    ) -> dict[str, Any]:
        """Estimate the outcome of one scan and write its row; return what its mask's sidecar says of it.

        Raises:
            OutputError: the table cannot be written.
        """
        progress("estimating the outcome", 0.0)
        found = self._estimator.estimate(
            prediction.labels, prediction.spec.class_names, image.grid, self._stage
        )
        described = {**self._made_by(), **found.as_json()}
        self._add_row(image.source, names, described)
        return {KEY: described}

    def known(self, source: str, names: ResultNames, sidecar: dict[str, Any]) -> bool:
        """Return whether a mask that is kept has an estimate by the same model for the same stage; its row too then.

        Args:
            source: absolute path of the scan.
            names: of its files.
            sidecar: of the mask.
        """
        described = sidecar.get(KEY, {})
        if not self._made_by().items() <= described.items():
            return False
        self._add_row(source, names, described)
        return True

    def _made_by(self) -> dict[str, Any]:
        return {**self._estimator.made_by, "stroke_stage": self._stage.value}

    def _add_row(self, source: str, names: ResultNames, described: dict[str, Any]) -> None:
        numbers = {name: described[name] for name in _NUMBERS}
        cells = {name: "" if value is None else f"{value:.2f}" for name, value in numbers.items()}
        regions = "; ".join(f"{one['name']} ({one['points']:.1f})" for one in described["regions"])
        self.table.add({
            "source": source,
            "mask": names.mask,
            "outcome": described["outcome"],
            "stroke_stage": described["stroke_stage"],
            **cells,
            "regions": regions,
            "reason": described["reason"] or "",
            "notes": "; ".join(described["notes"]),
        })  # fmt: skip

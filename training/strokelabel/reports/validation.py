"""Score a model on the synthetic validation set, at 1 mm, through the predictor that users run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strokelabel.inference.predictor import Predictor
from strokelabel.io.atomic import atomic_write_text
from strokelabel.io.images import Image
from strokelabel.labels import TissueClass
from strokelabel.metrics import dice
from strokelabel.reports.contact_sheet import Panel, make_panel, save_contact_sheet
from strokelabel.synthesis.generator import Synthesizer, SyntheticBatch
from strokelabel.synthesis.validation import ValidationCase, make_case

VALIDATION_SHAPE = (192, 240, 208)
"""Voxels of 1 mm; a whole head fits."""


@dataclass(frozen=True)
class CaseScore:
    """How one volume went. Volumes in ml; Dice in [0, 1]."""

    case: ValidationCase
    dice: float
    reference_ml: float
    predicted_ml: float
    seconds: float
    panel: Panel

    @property
    def slices(self) -> str:
        """Slice spacing, for tables."""
        return f"{self.case.slice_mm:g} mm" if self.case.slice_mm else "1 mm"


def score_cases(
    predictor: Predictor,
    synthesizer: Synthesizer,
    cases: list[ValidationCase],
) -> Iterator[CaseScore]:
    """Make each volume, predict it, and compare with the truth.

    Args:
        predictor: the model.
        synthesizer: with `validation_config` at 1 mm, unseen heads and unseen lesions.
        cases: which volumes.
    """
    for case in cases:
        yield _score(predictor, make_case(synthesizer, case), case)


def as_scan(batch: SyntheticBatch, spacing_mm: float, source: str) -> Image:
    """The first image of a batch as a scan: not negative, zero where the air is zero."""
    data = (batch.image[0, 0] - batch.image[0, 0].min()).cpu().numpy()
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    return Image(data.astype(np.float32), affine, source=source)


def _score(predictor: Predictor, batch: SyntheticBatch, case: ValidationCase) -> CaseScore:
    """Predict one volume."""
    scan = as_scan(batch, 1.0, f"validation-{case.index:03d}")
    truth = (batch.target[0] == TissueClass.LESION).cpu().numpy()
    prediction = predictor.predict(scan)
    mask = prediction.lesion_mask.astype(bool)
    value = dice(truth, mask)
    return CaseScore(
        case=case,
        dice=value,
        reference_ml=float(truth.sum()) / 1000,
        predicted_ml=prediction.volume_ml,
        seconds=prediction.seconds,
        panel=make_panel(scan.data, {"lime": truth, "red": mask}, f"{case.family} {value:.2f}"),
    )


def write_table(scores: list[CaseScore], path: Path) -> None:
    """One CSV row per volume, atomically."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["case", "family", "slices", "dice", "reference_ml", "predicted_ml", "seconds"])
    for s in scores:
        numbers = (s.dice, s.reference_ml, s.predicted_ml, s.seconds)
        table.writerow([s.case.index, s.case.family, s.slices, *(f"{n:.4f}" for n in numbers)])
    atomic_write_text(path, text.getvalue())


def summary(scores: list[CaseScore]) -> str:
    """Markdown table: n, median and mean lesion Dice, and median absolute volume error per contrast."""
    lines = [
        "| contrast | slices | n | median Dice | mean Dice | median volume error (ml) |",
        "|---|---|---|---|---|---|",
    ]
    families = list(dict.fromkeys(s.case.family for s in scores))
    for family in families:
        own = [s for s in scores if s.case.family == family]
        lines.append(_line(family, "all", own))
        lines += [
            _line(family, slices, [s for s in own if s.slices == slices])
            for slices in sorted({s.slices for s in own})
        ]
    lines.append(_line("all", "all", scores))
    return "\n".join(lines)


def _line(family: str, slices: str, scores: list[CaseScore]) -> str:
    """One row of the summary."""
    values = np.array([s.dice for s in scores])
    errors = np.array([abs(s.predicted_ml - s.reference_ml) for s in scores])
    return (
        f"| {family} | {slices} | {len(scores)} | {np.median(values):.3f} | {values.mean():.3f} "
        f"| {np.median(errors):.1f} |"
    )


def write_pictures(scores: list[CaseScore], folder: Path, count: int = 12) -> None:
    """Contact sheets of the best and the worst cases: truth in green, prediction in red."""
    ranked = sorted(scores, key=lambda s: s.dice)
    save_contact_sheet([s.panel for s in ranked[::-1][:count]], folder / "best.png")
    save_contact_sheet([s.panel for s in ranked[:count]], folder / "worst.png")

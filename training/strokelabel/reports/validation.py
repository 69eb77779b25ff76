"""Score a model on the synthetic benchmark, at 1 mm, through the predictor that users run."""

from __future__ import annotations

import csv
import io
import math
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
    """How one volume went. Volumes in ml; Dice in [0, 1], 1 where a lesion-free head was left alone."""

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
    kind = "lesion-free" if case.lesion_free else "validation"
    scan = as_scan(batch, 1.0, f"{kind}-{case.index:03d}")
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
    table.writerow(
        ["case", "lesion_free", "family", "slices", "dice", "reference_ml", "predicted_ml", "seconds"]
    )
    for s in scores:
        numbers = (s.dice, s.reference_ml, s.predicted_ml, s.seconds)
        facts = (s.case.index, str(s.case.lesion_free).lower(), s.case.family, s.slices)
        table.writerow([*facts, *(f"{n:.4f}" for n in numbers)])
    atomic_write_text(path, text.getvalue())


VOLUME_CLASSES_ML = ((30.0, math.inf), (10.0, 30.0), (3.0, 10.0), (0.0, 3.0))
"""Lesion volumes that results are broken down by: low <= volume < high."""


def summary(scores: list[CaseScore]) -> str:
    """Markdown tables: lesion Dice and absolute volume error per contrast and per lesion volume, and false lesions.

    A missed lesion counts 0 in the Dice. False lesions are those found in lesion-free heads.
    """
    found = [s for s in scores if not s.case.lesion_free]
    parts = [_dice_table(found)] if found else []
    free = [s.predicted_ml for s in scores if s.case.lesion_free]
    if free:
        parts.append(
            f"False lesion in {len(free)} lesion-free heads: median {np.median(free):.2f} ml, "
            f"mean {np.mean(free):.2f} ml, largest {max(free):.2f} ml, none at all in {free.count(0.0)}."
        )
    return "\n\n".join(parts)


def _dice_table(scores: list[CaseScore]) -> str:
    """Rows per contrast, for all, and per lesion volume."""
    lines = [
        "| volumes | slices | n | median Dice | mean Dice | median volume error (ml) |",
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
    for low, high in VOLUME_CLASSES_ML:
        own = [s for s in scores if low <= s.reference_ml < high]
        name = f"lesion {low:g} ml and more" if math.isinf(high) else f"lesion {low:g} to {high:g} ml"
        lines += [_line(name, "all", own)] if own else []
    return "\n".join(lines)


def _line(name: str, slices: str, scores: list[CaseScore]) -> str:
    """One row of the summary."""
    values = np.array([s.dice for s in scores])
    errors = np.array([abs(s.predicted_ml - s.reference_ml) for s in scores])
    return (
        f"| {name} | {slices} | {len(scores)} | {np.median(values):.3f} | {values.mean():.3f} "
        f"| {np.median(errors):.1f} |"
    )


def write_pictures(scores: list[CaseScore], folder: Path, count: int = 12) -> None:
    """Contact sheets of the best and the worst cases: truth in green, prediction in red."""
    ranked = sorted((s for s in scores if not s.case.lesion_free), key=lambda s: s.dice)
    if not ranked:
        return
    save_contact_sheet([s.panel for s in ranked[::-1][:count]], folder / "best.png")
    save_contact_sheet([s.panel for s in ranked[:count]], folder / "worst.png")

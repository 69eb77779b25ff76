"""Measure the tables of structures that lesions touch, on simulated strokes of a brain that was not trained on.

    python training/benchmarks/lesion_structures.py runs/synthseg/model.safetensors --brain brain-15

The lesion is the true one in the true table and in the model's, so that only the parcellation under it is measured. The
rule is that every structure with more than 1 ml of lesion has the true ml within 10 %.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from parcellation import unseen_synthesizer

from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.parcellate import Parcellator
from strokelabel.metrics.lesion_structures import LesionStructures, lesion_structures
from strokelabel.reports.validation import as_scan
from strokelabel.synthesis.benchmark import VALIDATION_FAMILIES, ValidationCase, make_case, validation_cases
from strokelabel.synthesis.generator import Synthesizer

LEAST_ML = 1.0
TOLERANCE = 0.1


@dataclass(frozen=True)
class Hit:
    """A structure with enough lesion in it.

    Attributes:
        family: contrast of the scan.
        structure: its name.
        true_ml, found_ml: of the lesion in it.
        true_percent, found_percent: of the structure that is lesion.
    """

    family: str
    structure: str
    true_ml: float
    found_ml: float
    true_percent: float
    found_percent: float

    @property
    def error(self) -> float:
        """Error of the ml, as a share of the truth."""
        return abs(self.found_ml - self.true_ml) / self.true_ml


@dataclass(frozen=True)
class Tables:
    """True and found table of one scan."""

    family: str
    truth: LesionStructures
    found: LesionStructures

    def hits(self) -> list[Hit]:
        """Return the structures with more lesion than `LEAST_ML`, in the truth."""
        found = {one.structure.id: one for one in self.found.structures}
        hits = []
        for one in self.truth.structures:
            if one.lesion_ml <= LEAST_ML:
                continue
            same = found.get(one.structure.id)
            ml, percent = (0.0, 0.0) if same is None else (same.lesion_ml, same.lesion_percent or 0.0)
            hits.append(
                Hit(self.family, one.structure.name, one.lesion_ml, ml, one.lesion_percent or 0.0, percent)
            )
        return hits


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    parcellator = Parcellator.from_model(
        arguments.weights, arguments.device, PredictionOptions(tta=arguments.tta)
    )
    synthesizer = unseen_synthesizer(
        parcellator, arguments.prepared, (arguments.brain,), arguments.spacing_mm
    )
    cases = validation_cases(arguments.per_family)
    report([measure(parcellator, synthesizer, case, arguments.spacing_mm) for case in cases])


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("weights", help="name of a model, or a weights file")
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("--brain", default="brain-15", help="a brain that was not trained on")
    parser.add_argument(
        "--per-family", type=int, default=4, help="strokes of each contrast, thin and thick slices in turn"
    )
    parser.add_argument("--spacing-mm", type=float, default=1.0, help="voxel size of the scans")
    parser.add_argument("--tta", action="store_true", help="average over flips")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def measure(
    parcellator: Parcellator, synthesizer: Synthesizer, case: ValidationCase, spacing_mm: float
) -> Tables:
    """Make one scan of a stroke, and both tables of its lesion."""
    batch = make_case(synthesizer, case, keep_visible=True)
    assert batch.visible is not None
    lesion = (batch.visible[0] > 0.5).numpy()
    scan = as_scan(batch, spacing_mm, f"case {case.index}")
    ids = np.array([structure.id for structure in parcellator.structures])
    labels = ids[batch.target[0].numpy()], parcellator.parcellate(scan).labels
    truth, found = (lesion_structures(lesion, one, parcellator.structures, scan.grid) for one in labels)
    return Tables(case.family, truth, found)


def report(tables: list[Tables]) -> None:
    """Print Markdown: how many structures are within the tolerance, by structure and by contrast."""
    hits = [hit for one in tables for hit in one.hits()]
    print(f"{len(tables)} strokes, {len(hits)} structures with more than {LEAST_ML:g} ml of lesion\n")
    print(
        "| structure | hits | within 10 % | median error % | largest error % | error of its share, points |"
    )
    print("|---|---|---|---|---|---|")
    by_structure: dict[str, list[Hit]] = defaultdict(list)
    for hit in hits:
        by_structure[hit.structure].append(hit)
    for name, own in [*sorted(by_structure.items()), *([("all", hits)] if hits else [])]:
        errors = 100 * np.array([hit.error for hit in own])
        points = np.mean([abs(hit.found_percent - hit.true_percent) for hit in own])
        within = int((errors <= 100 * TOLERANCE).sum())
        print(
            f"| {name} | {len(own)} | {within} | {np.median(errors):.1f} | {errors.max():.1f} | {points:.1f} |"
        )
    for family in VALIDATION_FAMILIES:
        own = [hit for hit in hits if hit.family == family]
        if own:
            print(f"{family}: {np.mean([hit.error <= TOLERANCE for hit in own]):.0%} within 10 %")
    known = [one for one in tables if not (one.truth.cut_off or one.found.cut_off)]
    if known:
        mean = np.mean([abs(one.found.intracranial_ml / one.truth.intracranial_ml - 1) for one in known])
        print(f"intracranial volume: mean error {100 * mean:.1f} % of {len(known)} scans")


if __name__ == "__main__":
    main()

"""`strokelabel outcome explain`: maps of where damage goes with an outcome."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strokelabel.cli.outcome_options import Masks, OutcomeName, TableFile, measured, progress
from strokelabel.errors import OptionError
from strokelabel.io.atomic import check_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from strokelabel.outcome.explanation.explain import Map, Target
    from strokelabel.outcome.patients import Outcome
    from strokelabel.outcome.predictors import Cohort


Permutations = Annotated[
    int, typer.Option(min=99, help="Shuffled outcomes that the lesion-symptom map is compared with.")
]
SaliencyPermutations = Annotated[
    int,
    typer.Option(
        min=0,
        help="The same of the saliency, which trains four networks for each: 19 or more, or 0 for no test.",
    ),
]
Planted = Annotated[
    str | None,
    typer.Option(
        metavar="REGION",
        help="Check: an outcome that damage to this region decides, such as 'insula, left', instead of the real.",
    ),
]
Shuffle = Annotated[
    int | None,
    typer.Option(metavar="SEED", help="Check: patients' outcomes shuffled; nothing should be significant."),
]


def explain(
    table: TableFile,
    masks: Masks,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the maps.")],
    outcome: OutcomeName = "nihss",
    permutations: Permutations = 1000,
    saliency_permutations: SaliencyPermutations = 19,
    planted: Planted = None,
    shuffle: Shuffle = None,
) -> None:
    """Map where damage goes with a worse outcome, on the patients outside the lock box. For research.

    Two maps are made: lesion-symptom mapping by support vectors, beyond lesion size and age, and the saliency of a
    light network. Each is written as <map>.nii.gz and <map>_significant.nii.gz (ICBM space) and <map>.png;
    explanation.json has the numbers.
    """
    from strokelabel.outcome.evaluation import outside_lock_box
    from strokelabel.outcome.explanation.explain import distance_mm, map_saliency, map_symptoms, region_mask
    from strokelabel.outcome.networks.pictures import read_pictures
    from strokelabel.outcome.patients import find_outcome
    from strokelabel.reports.outcome_maps import describe, write_explanation

    which = find_outcome(outcome)
    if 0 < saliency_permutations < 19:
        raise OptionError(
            f"expected --saliency-permutations of 0, or of 19 or more, got {saliency_permutations}; with fewer nothing "
            "can be significant"
        )
    if planted is not None:
        region_mask(planted)
    check_folder(output)
    cohort = outside_lock_box(which, measured(table, masks, which))
    target = _target(which, cohort, planted, shuffle)
    with progress("pictures", len(cohort.patients)) as advance:
        pictures = read_pictures(cohort, on_progress=advance, kinds=("stitched",))
    with progress("lesion-symptom map, permutations", permutations) as advance:
        symptoms, first = map_symptoms(cohort, target, permutations, advance)
    with progress("saliency, permutations", saliency_permutations + 1) as advance:
        saliency, second = map_saliency(pictures, target, saliency_permutations, advance)
    facts: dict[str, dict[str, object]] = {
        "patients": {"outcome": target.title, "n": symptoms.n, "worse_half": int(target.classes.sum())},
        first.name: {"permutations": symptoms.permutations, "tested_ml": len(symptoms.cells) * 0.064},
        second.name: {"permutations": saliency.permutations, "auc_of_unseen_patients": saliency.auc},
    }
    if planted is not None and shuffle is None:
        distance = distance_mm(region_mask(planted))
        for one in (first, second):
            facts[one.name] |= _shares(one, distance)
    write_explanation((first, second), facts, output)
    for one in (first, second):
        typer.echo(f"{one.title}: {_told(describe(one) | facts[one.name])}")


def _target(outcome: Outcome, cohort: Cohort, planted: str | None, shuffle: int | None) -> Target:
    from strokelabel.outcome.explanation.explain import outcome_target, planted_target, shuffled

    target = outcome_target(outcome, cohort) if planted is None else planted_target(cohort, planted)
    return target if shuffle is None else shuffled(target, shuffle)


def _shares(found: Map, distance: NDArray[np.float32]) -> dict[str, object]:
    """Return the shares of a map inside the planted region and near it, given the distance from it."""
    from strokelabel.outcome.explanation.explain import share_near

    shares = {
        f"share_{name}_within_{margin}_mm": share_near(found, distance, margin, significant=significant)
        for name, significant in (("of_significant", True), ("of_all", False))
        for margin in (0, found.resolution_mm)
    }
    return {
        name: None if share != share else share for name, share in shares.items()
    }  # NaN is not equal to itself


def _told(numbers: dict[str, object]) -> str:
    parts = [f"{name} {_short(value)}" for name, value in numbers.items() if value is not None]
    return ", ".join(parts)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

"""Calibration of a model's lesion probability on real slices, and whether a temperature helps.

    python training/benchmarks/calibration.py --real DATA -o runs/calibration

`DATA` is the material of `strokelabel validate --real`. Counted are the voxels of the brain as the model finds it (any
class but background), and those of the lesion: one slice of each slab, as its slices are the same. The subjects are
divided at random in two halves; the temperature is fitted on one, by the negative log likelihood of lesion, and all
that is reported is measured on the other, through the predictor. Intervals are by bootstrap over subjects. Beside the
error over the whole brain, which is nearly all certainly healthy, stands that of the voxels where lesion is possible
(probability 0.05 and more, before or after).

`--write model.safetensors` writes the model with its temperature, if that helps; its tensors stay the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import atomic_path, read_image, read_label_image
from strokelabel.io.bids import entities_of, image_stem
from strokelabel.metrics.calibration import (
    fit_temperature,
    negative_log_likelihood,
    reliability_curve,
)
from strokelabel.networks.weights import save_with_temperature
from strokelabel.reports.evaluation.cases import EvaluationCase, read_pairs
from strokelabel.reports.evaluation.models import image_of
from strokelabel.reports.evaluation.slabs import slab_axis, slab_scores
from strokelabel.reports.real_validation.dataset import RealGroup, write_real_validation

SEED, RESAMPLED = 40_100, 1000
POSSIBLE = 0.05


@dataclass(frozen=True, eq=False)
class Voxels:
    """Counted voxels of a slice.

    Attributes:
        subject: whose.
        group: of the real validation set.
        probabilities: (voxels, classes).
        lesion: (voxels,), the expert's.
    """

    subject: str
    group: str
    probabilities: np.ndarray
    lesion: np.ndarray


@dataclass(frozen=True, eq=False)
class Compared:
    """Lesion probability of the voxels of a slice before and after, and the expert's lesion, each (voxels,)."""

    subject: str
    group: str
    before: np.ndarray
    after: np.ndarray
    lesion: np.ndarray


def main(words: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--real", type=Path, required=True, help="folder of real slices and scans")
    parser.add_argument("--model", default="base")
    parser.add_argument("--subjects", type=int, help="at most so many; default: all")
    parser.add_argument("--tta", action="store_true", help="average over flips")
    parser.add_argument("--write", type=Path, help="write the model with its temperature here, if that helps")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/calibration"))
    arguments = parser.parse_args(words)
    options = PredictionOptions(tta=arguments.tta)
    predictor = Predictor.from_model(arguments.model, "cpu", options, "torch")
    cases = slice_cases(arguments.real, arguments.output / "dataset", arguments.subjects)
    fitting, measured = halves(cases)
    began = time.perf_counter()
    temperature = fitted_temperature(predictor, list(voxels_of(predictor, fitting)))
    scaled = Predictor(
        replace(predictor.spec, temperature=predictor.spec.temperature * temperature),
        predictor.network,
        predictor.device,
        options,
    )
    found = [compared(predictor, scaled, case) for case in measured]
    print(
        f"{predictor.spec.name} {predictor.spec.version}: temperature {scaled.spec.temperature:.3f}, fitted on "
        f"{len(fitting)} slices, measured on {len(found)} others, {time.perf_counter() - began:.0f} s"
    )
    helps = report(found)
    draw(found, arguments.output / "reliability.png")
    if helps and arguments.write is not None:
        save_with_temperature(predictor.spec, arguments.write, scaled.spec.temperature)
        print(f"written: {arguments.write}")


def slice_cases(material: Path, folder: Path, most: int | None) -> list[EvaluationCase]:
    """Return the slices of the real validation set, those of the first so many subjects."""
    cases = [
        case
        for case in read_pairs(write_real_validation(material, folder))
        if RealGroup.parse(case.group).is_slices
    ]
    kept = set(sorted({subject_of(case) for case in cases})[:most])
    return [case for case in cases if subject_of(case) in kept]


def subject_of(case: EvaluationCase) -> str:
    """Return the label of a case's subject."""
    return entities_of(image_stem(image_of(case)))["sub"]


def halves(cases: Sequence[EvaluationCase]) -> tuple[list[EvaluationCase], list[EvaluationCase]]:
    """Divide cases by their subjects, at random: one half to fit, and the other to measure."""
    subjects = np.random.default_rng(SEED).permutation(sorted({subject_of(case) for case in cases}))
    first = set(subjects[: len(subjects) // 2].tolist())
    fitting = [case for case in cases if subject_of(case) in first]
    return fitting, [case for case in cases if subject_of(case) not in first]


def voxels_of(predictor: Predictor, cases: Sequence[EvaluationCase]) -> Iterator[Voxels]:
    """Yield the counted voxels of slices."""
    for case in cases:
        yield counted(case, *predicted_slice(predictor, case))


def predicted_slice(predictor: Predictor, case: EvaluationCase) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities (classes, rows, columns) of a slab's slice, and the lesion (rows, columns)."""
    image, reference = read_image(image_of(case)), read_label_image(case.reference)
    axis = slab_axis(image.data)
    assert axis is not None, "only slabs"
    probabilities = slab_scores(predictor, image, axis, predictor.options).probabilities
    assert probabilities is not None, "the options keep them"
    middle = image.data.shape[axis] // 2
    return probabilities.take(middle, axis=axis + 1), reference.data.take(middle, axis=axis) > 0


def counted(case: EvaluationCase, probabilities: np.ndarray, lesion: np.ndarray) -> Voxels:
    """Return the voxels of the brain as the model finds it, and of the lesion."""
    brain = (probabilities.argmax(axis=0) > 0) | lesion
    return Voxels(subject_of(case), case.group, probabilities[:, brain].T, lesion[brain])


def fitted_temperature(predictor: Predictor, voxels: Sequence[Voxels]) -> float:
    """Return the temperature for all voxels together."""
    probabilities = np.concatenate([one.probabilities for one in voxels])
    return fit_temperature(probabilities, predictor.lesion, np.concatenate([one.lesion for one in voxels]))


def compared(predictor: Predictor, scaled: Predictor, case: EvaluationCase) -> Compared:
    """Return the probabilities of the voxels that the plain model counts, by both models."""
    plain, lesion = predicted_slice(predictor, case)
    after, _ = predicted_slice(scaled, case)
    brain = (plain.argmax(axis=0) > 0) | lesion
    index = predictor.lesion
    return Compared(subject_of(case), case.group, plain[index][brain], after[index][brain], lesion[brain])


def report(found: Sequence[Compared]) -> bool:
    """Print the errors by group, and the verdict; return whether the temperature helps clearly."""
    print(
        "\n| slices | n | voxels | lesion | ECE before | after | ECE where possible | after | NLL | after |"
    )
    print("|---|" + "---:|" * 9)
    groups = list(dict.fromkeys(one.group for one in found))
    for group in [*groups, *(["all"] if len(groups) > 1 else [])]:
        own = [one for one in found if group in (one.group, "all")]
        print(f"| {group} | {len(own)} | {row(own)} |")
    low, high = difference(found, possible_only=False)
    low_possible, high_possible = difference(found, possible_only=True)
    helps = high < 0 and high_possible < 0
    print(
        f"\nChange of the error, 95 % interval over subjects: {low:+.4f} to {high:+.4f} in the brain, "
        f"{low_possible:+.4f} to {high_possible:+.4f} where lesion is possible: "
        f"the temperature {'helps' if helps else 'does not help clearly'}."
    )
    return helps


def row(found: Sequence[Compared]) -> str:
    """Return the cells of a table's row."""
    before, after, lesion = pooled(found)
    possible = (before >= POSSIBLE) | (after >= POSSIBLE)
    cells = [f"{len(lesion):,}", f"{lesion.mean():.3%}"]
    for chosen in (np.ones_like(possible), possible):
        cells += [f"{error(values[chosen], lesion[chosen]):.4f}" for values in (before, after)]
    cells += [f"{negative_log_likelihood(values, lesion):.4f}" for values in (before, after)]
    return " | ".join(cells)


def error(probability: np.ndarray, lesion: np.ndarray) -> float:
    """Return the expected calibration error."""
    return reliability_curve(probability, lesion).expected_error


def pooled(found: Sequence[Compared]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the probabilities before and after, and the lesion, of all voxels."""
    before, after, lesion = (
        np.concatenate([getattr(one, name) for one in found]) for name in ("before", "after", "lesion")
    )
    return before, after, lesion


def difference(found: Sequence[Compared], possible_only: bool) -> tuple[float, float]:
    """Return the 95 % bootstrap interval over subjects of the error after less the error before.

    A curve's sums are additive, so that a sample of subjects is a sum of theirs.
    """
    subjects = sorted({one.subject for one in found})
    sums = []
    for subject in subjects:
        before, after, lesion = pooled([one for one in found if one.subject == subject])
        if possible_only:
            chosen = (before >= POSSIBLE) | (after >= POSSIBLE)
            before, after, lesion = before[chosen], after[chosen], lesion[chosen]
        curves = (reliability_curve(values, lesion) for values in (before, after))
        sums.append(
            [
                [c.count, np.nan_to_num(c.probability) * c.count, np.nan_to_num(c.frequency) * c.count]
                for c in curves
            ]
        )
    table = np.array(sums, dtype=np.float64)  # subjects, before and after, the three sums, bins
    drawn = np.random.default_rng(SEED).integers(len(subjects), size=(RESAMPLED, len(subjects)))
    totals = np.stack([table[sample].sum(axis=0) for sample in drawn])
    errors = np.abs(totals[:, :, 1] - totals[:, :, 2]).sum(axis=-1) / totals[:, :, 0].sum(axis=-1)
    low, high = np.percentile(errors[:, 1] - errors[:, 0], [2.5, 97.5])
    return float(low), float(high)


def draw(found: Sequence[Compared], path: Path) -> None:
    """Draw the reliability curves of all voxels, and how many lie in each bin."""
    before, after, lesion = pooled(found)
    figure = Figure(figsize=(5, 6))
    FigureCanvasAgg(figure)
    curve_axes, count_axes = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    curve_axes.plot([0, 1], [0, 1], color="#999999", linestyle=":", label="calibrated")
    for values, name, color in ((before, "as trained", "#0072b2"), (after, "with temperature", "#d55e00")):
        curve = reliability_curve(values, lesion)
        label = f"{name}, ECE {curve.expected_error:.4f}"
        curve_axes.plot(
            curve.probability, curve.frequency, color=color, marker="o", markersize=4, label=label
        )
        count_axes.plot(curve.probability, curve.count, color=color, marker="o", markersize=4)
    curve_axes.set(ylabel="fraction that is lesion", xlim=(0, 1), ylim=(0, 1))
    curve_axes.legend(loc="upper left")
    count_axes.set(xlabel="predicted probability of lesion", ylabel="voxels", yscale="log")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png", bbox_inches="tight")


if __name__ == "__main__":
    main()

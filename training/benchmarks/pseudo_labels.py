"""Pseudo-labels of an unlabelled cohort: are models better with them, trained for the same time?

    python training/benchmarks/pseudo_labels.py training/benchmarks/pseudo_labels.yaml \\
        --prepared prepared --material DATA -o runs/pseudo-labels --seconds 120

The arms are those of the SynthStroke paper: real scans alone (Baseline), synthetic images (Synth), and both (Synth +
real), each without and with the pseudo-labels that the baseline of the same seed draws on an unlabelled cohort. As in
the paper, the baseline takes accepted masks for truth; the other arms take them for lesions of synthetic images, beside
those of the annotated cohort. Each arm trains for as many steps as fit into `--seconds` of CPU time, which are counted
once for an arm and its partner with pseudo-labels, so that neither the load of the machine nor chance decides.

Every model is scored on a simulated cohort (`pseudo_label_cohorts.py`) and on the real axial slices of the validation
set. Finished runs are not repeated and an interrupted one goes on, so the command can be stopped and given again.
Written are scores.csv, pseudo-labels.csv, table.csv, table.md and pseudo-labels.png.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from pseudo_label_cohorts import Cohorts, CohortSizes, make_cohorts, mask_path
from pseudo_label_report import put_into_document, write_report

from strokelabel.fit.export import export_weights
from strokelabel.fit.loop.progress import TrainingProgress
from strokelabel.fit.pseudo_labels.cohort import PseudoLabeler
from strokelabel.fit.pseudo_labels.record import PseudoLabel, QualityGate, read_pseudo_labels
from strokelabel.fit.recipe import Recipe, load_recipe, with_folders
from strokelabel.fit.train import describe_model, train_recipe
from strokelabel.inference.network_input import silent
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.inference.segment.scores import Prediction
from strokelabel.io import Image, read_label_image, search_images
from strokelabel.io.atomic import atomic_write_json, atomic_write_text
from strokelabel.metrics import dice
from strokelabel.registry import find_model
from strokelabel.reports.evaluation.cases import EvaluationCase, find_cases, read_pairs
from strokelabel.reports.evaluation.methods import ScoringModel, image_of
from strokelabel.reports.real_validation.dataset import RealGroup, write_real_validation
from strokelabel.synthesis.prepared.dataset import PreparedData
from strokelabel.synthesis.prepared.registration import Registration

_TIMED_STEPS, _UNTIMED_STEPS = 16, 4


@dataclass(frozen=True)
class Run:
    """One training of the plan.

    Attributes:
        arm: its name in the plan.
        seed: of weights and images.
        folder: receives recipe, checkpoints, weights and scores.
    """

    arm: str
    seed: int
    folder: Path

    @property
    def weights(self) -> Path:
        """File of the trained model."""
        return self.folder / "model.safetensors"

    @property
    def scores(self) -> Path:
        """Table of its scores; there once the run is finished."""
        return self.folder / "scores.csv"


class OnceAligned(PseudoLabeler):
    """Labels a cohort; a scan's alignment, which takes longest and is the same for every labeller, is kept in a file.

    Args:
        predictor, folder, gate, tissues: as `PseudoLabeler`.
        path: of the alignments.
    """

    def __init__(
        self, predictor: Predictor, folder: Path, gate: QualityGate, tissues: Predictor, path: Path
    ) -> None:
        super().__init__(predictor, folder, gate, tissues)
        self.path = path

    def align(self, image: Image, prediction: Prediction) -> Registration | None:
        """Return the alignment from the file, or make it."""
        known = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        if image.source not in known:
            made = super().align(image, prediction)
            known[image.source] = made and {"to_icbm": made.to_icbm.tolist(), "similarity": made.similarity}
            atomic_write_json(self.path, known)
        kept = known[image.source]
        return kept and Registration(np.asarray(kept["to_icbm"]), kept["similarity"])


class Benchmark:
    """The runs of a plan, in one folder.

    Args:
        plan: content of the YAML file.
        data: prepared brains, lesions and real images.
        material: real validation material (`strokelabel validate --real`); None to leave it out.
        folder: receives everything.
        seconds: CPU time of each training.
        tissues: model whose tissues align scans with ICBM space.
    """

    def __init__(
        self,
        plan: dict[str, Any],
        data: PreparedData,
        material: Path | None,
        folder: Path,
        seconds: float,
        tissues: str = "base",
    ) -> None:
        self.plan, self.folder, self.seconds, self.tissues = plan, folder, seconds, tissues
        sizes = CohortSizes(**plan["cohorts"])
        self.cohorts: Cohorts = make_cohorts(data, sizes, plan["seed"], folder / "cohorts")
        self.data = PreparedData.load(self.cohorts.prepared)
        self.cases = _cases(self.cohorts.test, material, folder / "real")

    def runs(self) -> Iterator[Run]:
        """Yield every arm once per seed, the seeds in turn, the labelling arm first."""
        for seed in range(1, self.plan["seeds"] + 1):
            arms = sorted(self.plan["arms"], key=lambda arm: arm != self.plan["labeller"])
            for arm in arms:
                yield Run(arm, seed, self.folder / f"seed-{seed}" / arm.lower().replace(" ", ""))

    def finish(self, run: Run) -> None:
        """Train, export and score a run, whatever of it is not done yet."""
        if run.scores.exists():
            return
        if not run.weights.exists():
            self._train(run)
        if run.arm == self.plan["labeller"]:
            self.pseudo_labels(run.seed)
        scores = score(run, self.cases)
        atomic_write_text(run.scores, scores.to_csv(index=False))

    def _train(self, run: Run) -> None:
        recipe = self.recipe(run, self.steps(run.arm))
        began = time.process_time()
        result = train_recipe(recipe, self.data, run.folder, device="cpu", cache=self.folder / "real-cache")
        atomic_write_json(
            run.folder / "training.json",
            {
                "steps": result.steps,
                "cpu_seconds": time.process_time() - began,
                "wall_seconds": result.seconds,
            },
        )
        spec = describe_model(recipe, run.weights, "0", "CC0-1.0")
        export_weights(run.folder, spec, run.weights, which="newest")

    def recipe(self, run: Run, steps: int) -> Recipe:
        """Return the recipe of an arm: the one that it extends, with what all arms share and with its own changes."""
        own = dict(self.plan["arms"][run.arm])
        pseudo = own.pop("trains_on", None) == "pseudo-labels"
        training = {"steps": steps, "seed": run.seed}
        own |= {"name": run.arm, "seed": run.seed, "training": own.get("training", {}) | training}
        shared = {"extends": own.pop("extends"), **self.plan["common"]}
        atomic_write_text(run.folder / "common.yaml", yaml.safe_dump(shared))
        atomic_write_text(run.folder / "arm.yaml", yaml.safe_dump({"extends": "common.yaml", **own}))
        recipe = load_recipe(run.folder / "arm.yaml")
        real, labels = None, None
        if recipe.real is not None:
            real = self.with_pseudo_labels(run.seed) if pseudo else self.cohorts.annotated
        if recipe.pseudo_labels is not None:
            labels = self.pseudo_labels(run.seed)
            if not any(label.trains() for label in read_pseudo_labels(labels)):
                print("  no pseudo-label was accepted: trained without any", flush=True)
                labels, recipe = None, recipe.model_copy(update={"pseudo_labels": None})
        return _with_parts(with_folders(recipe, real, labels))

    def steps(self, arm: str) -> int:
        """Return how many optimiser steps of an arm take `seconds` of CPU time: measured once, and kept.

        An arm with pseudo-labels takes as many as its partner.
        """
        partner = self.plan["pairs"].get(arm, arm)
        path = self.folder / "pace.json"
        paces = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if partner not in paces:
            paces[partner] = self._seconds_per_step(partner)
            atomic_write_json(path, paces)
        return max(2, round(self.seconds / paces[partner]))

    def _seconds_per_step(self, arm: str) -> float:
        """Measure the CPU time of an optimiser step, images included."""
        folder = self.folder / "pace" / arm.lower().replace(" ", "")
        recipe = self.recipe(Run(arm, 0, folder), _UNTIMED_STEPS + _TIMED_STEPS)
        times: list[float] = []

        def note(_: TrainingProgress) -> None:
            times.append(time.process_time())

        cache = self.folder / "real-cache"
        train_recipe(recipe, self.data, folder, device="cpu", cache=cache, on_progress=note)
        shutil.rmtree(folder)
        return (times[-1] - times[_UNTIMED_STEPS - 1]) / (len(times) - _UNTIMED_STEPS)

    def pseudo_labels(self, seed: int) -> Path:
        """Return the folder of a seed's pseudo-labels, drawn by its labelling arm if they are not there yet."""
        folder = self.folder / f"seed-{seed}" / "pseudo-labels"
        table = self.folder / f"seed-{seed}" / "pseudo-labels.csv"
        if table.exists():
            return folder
        labeller = next(run for run in self.runs() if (run.arm, run.seed) == (self.plan["labeller"], seed))
        options = PredictionOptions(tta=True, keep_probabilities=False)
        predictor = Predictor.from_model(labeller.weights, "cpu", options)
        tissues = Predictor.from_model(self.tissues, "cpu", PredictionOptions(keep_probabilities=False))
        gate = QualityGate(**self.plan["gate"])
        scans = search_images([str(self.cohorts.unlabelled)]).images
        labeler = OnceAligned(predictor, folder, gate, tissues, self.folder / "alignments.json")
        for row in labeler.label_scans(scans):
            verdict = "failed" if row.label is None else "; ".join(row.label.reasons) or "accepted"
            print(f"  pseudo-label of {Path(row.source).name}: {verdict}", flush=True)
        rows = [_judge(label, folder, self.cohorts.truth, seed) for label in read_pseudo_labels(folder)]
        atomic_write_text(table, pd.DataFrame(rows).to_csv(index=False))
        return folder

    def about(self, runs: list[Run]) -> str:
        """Return sentences on the trainings and on the pseudo-labels, for the head of the table."""
        trained = [json.loads((run.folder / "training.json").read_text(encoding="utf-8")) for run in runs]
        times = pd.DataFrame(trained).assign(arm=[run.arm for run in runs])
        steps = ", ".join(
            f"{arm} {int(own['steps'].iloc[0])}" for arm, own in times.groupby("arm", sort=False)
        )
        sizes, seeds = CohortSizes(**self.plan["cohorts"]), {run.seed for run in runs}
        tables = [self.folder / f"seed-{seed}" / "pseudo-labels.csv" for seed in sorted(seeds)]
        labels = pd.concat([pd.read_csv(path) for path in tables])
        taken = labels[labels["accepted"]]
        counts = " / ".join(str(int(n)) for n in labels.groupby("seed")["accepted"].sum())
        cpu, wall = times["cpu_seconds"], times["wall_seconds"]
        return (
            f"{len(runs)} of {len(list(self.runs()))} runs; a training took {cpu.mean():.0f} s of CPU time "
            f"({cpu.min():.0f} to {cpu.max():.0f}), {wall.mean():.0f} s of the clock, on one thread of {_processor()}. "
            f"Steps: {steps}. {sizes.annotated} annotated subjects, {sizes.unlabelled} unlabelled ones. Accepted "
            f"pseudo-labels by seed: {counts}; their mean Dice with the simulated truth is {taken['dice'].mean():.2f}, "
            f"that of the others {labels[~labels['accepted']]['dice'].mean():.2f}."
        )

    def with_pseudo_labels(self, seed: int) -> Path:
        """Return a data set of the annotated scans and of those with accepted masks, for a training on both."""
        folder = self.folder / f"seed-{seed}" / "annotated-and-pseudo"
        labels = self.pseudo_labels(seed)
        if not folder.exists():
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.copytree(self.cohorts.annotated, partial, dirs_exist_ok=True)
            for label in read_pseudo_labels(labels):
                if label.trains():
                    _add_as_truth(label, labels, partial)
            partial.rename(folder)
        return folder


def _processor() -> str:
    """Return the name of the processor, where the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} cores)" if names else platform.processor()


def _add_as_truth(label: PseudoLabel, labels: Path, folder: Path) -> None:
    """Copy a scan and its mask into a data set, without the record that says that a model drew the mask."""
    scan = Path(label.source)
    subject = _subject(scan)
    target = mask_path(folder, subject)
    place = folder / subject / "anat" / scan.name
    for source, copy in ((scan, place), (labels / label.mask, target)):
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)


def _judge(label: PseudoLabel, folder: Path, truth: Path, seed: int) -> dict[str, Any]:
    """Return how good a pseudo-label is, which only a simulated cohort can tell."""
    subject = _subject(Path(label.source))
    known = read_label_image(mask_path(truth, subject)).data > 0
    drawn = read_label_image(folder / label.mask).data > 0
    return {
        "seed": seed,
        "subject": subject,
        "accepted": label.accepted,
        "dice": dice(known, drawn),
        "volume_ml": label.measures.volume_ml,
        "confidence": label.measures.mean_confidence,
        "similarity": label.measures.similarity,
    }


def _subject(path: Path) -> str:
    return path.name.split("_", 1)[0]


def _with_parts(recipe: Recipe) -> Recipe:
    """Return the recipe with all annotated subjects but one for training; the runs leave validation out."""
    if recipe.real is None or recipe.real.folder is None:
        return recipe
    first, *others = sorted(path.name for path in recipe.real.folder.glob("sub-*"))
    real = recipe.real.model_copy(update={"train": tuple(others), "validation": (first,)})
    return recipe.model_copy(update={"real": real})


def _cases(test: Path, material: Path | None, folder: Path) -> list[EvaluationCase]:
    """Return the scans of the test cohort, and the axial slices of the real validation set."""
    cases = list(find_cases(test, suffixes=("T1w", "T2w", "FLAIR"), share_masks=True).cases)
    if material is not None:
        real = read_pairs(write_real_validation(material, folder))
        cases += [case for case in real if RealGroup.parse(case.group).name == "validation: axial slices"]
    return cases


@torch.no_grad()
def score(run: Run, cases: list[EvaluationCase]) -> pd.DataFrame:
    """Return a row for each case: Dice, and volumes in ml of the reference and of what was found."""
    model = ScoringModel(find_model(str(run.weights)), "cpu")
    options = PredictionOptions(keep_probabilities=False)
    rows = []
    for case in cases:
        image, prediction = model.predict(image_of(case), options, silent)
        reference = read_label_image(case.reference).data > 0
        found = prediction.lesion_mask > 0
        ml = image.grid.voxel_volume_ml
        row = (run.arm, run.seed, case.group, case.name, dice(reference, found), reference.sum() * ml)
        rows.append((*row, found.sum() * ml))
    columns = ["arm", "seed", "group", "case", "dice", "reference_ml", "found_ml"]
    return pd.DataFrame(rows, columns=columns)


def main(arguments: list[str] | None = None) -> None:
    """Finish what is missing, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("plan", type=Path, help="YAML: arms, pairs, cohorts, gate, seeds")
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument(
        "--material", type=Path, help="folder with slices/ and scans/, for real validation slices"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/pseudo-labels"))
    parser.add_argument("--seconds", type=float, default=120.0, help="CPU time of each training")
    parser.add_argument("--seeds", type=int, help="other number of seeds than the plan's")
    parser.add_argument("--table", action="store_true", help="no training: the report of the runs there are")
    parser.add_argument("--document", type=Path, help="Markdown page whose results are replaced")
    chosen = parser.parse_args(arguments)
    plan = yaml.safe_load(chosen.plan.read_text(encoding="utf-8"))
    plan["seeds"] = chosen.seeds or plan["seeds"]
    torch.set_num_threads(1)
    data = PreparedData.load(chosen.prepared)
    benchmark = Benchmark(plan, data, chosen.material, chosen.output, chosen.seconds)
    runs = list(benchmark.runs())
    for number, run in enumerate([] if chosen.table else runs, start=1):
        began = time.monotonic()
        print(f"run {number} of {len(runs)}: {run.arm}, seed {run.seed}", flush=True)
        benchmark.finish(run)
        print(f"  finished after {time.monotonic() - began:.0f} s", flush=True)
    finished = [run for run in runs if run.scores.exists()]
    report = write_report([run.folder for run in finished], plan, chosen.output, benchmark.about(finished))
    print(report)
    if chosen.document is not None:
        put_into_document(report, chosen.output, chosen.document)


if __name__ == "__main__":
    main()

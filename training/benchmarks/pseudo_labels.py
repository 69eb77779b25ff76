"""Pseudo-labels of an unlabelled cohort: are models better with them, trained for the same time?

    python training/benchmarks/pseudo_labels.py training/benchmarks/pseudo_labels.yaml \\
        --prepared prepared --material DATA -o runs/pseudo-labels --seconds 120

The arms are those of the SynthStroke paper: real scans alone (Baseline), synthetic images (Synth), and both (Synth +
real), each without and with the pseudo-labels that the baseline of the same seed draws on an unlabelled cohort. As in
the paper, the baseline takes accepted masks for truth; the other arms take them for lesions of synthetic images, beside
those of the annotated cohort. Each arm trains for as many steps as fit into `--seconds` of CPU time, which are counted
once for an arm and its partner with pseudo-labels, so that neither the load of the machine nor chance decides.

Every model is scored on a simulated cohort (`pseudo_label_cohorts.py`) and on the real axial slices of the validation
set. Finished runs are not repeated and an interrupted one continues, so the command can be stopped and given again.
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
from strokelabel.fit.loop.checkpoint import list_checkpoints
from strokelabel.fit.loop.progress import TrainingProgress
from strokelabel.fit.pseudo_labels.cohort import PseudoLabeler
from strokelabel.fit.pseudo_labels.lesions import align_with_icbm
from strokelabel.fit.pseudo_labels.record import PseudoLabel, QualityGate, read_pseudo_labels
from strokelabel.fit.recipe import Recipe, load_recipe, with_folders
from strokelabel.fit.train import describe_model, train_recipe
from strokelabel.inference.network_input import silent
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.prediction import Prediction
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import Image, read_label_image, search_images
from strokelabel.io.atomic import atomic_write_json, atomic_write_text
from strokelabel.metrics import dice
from strokelabel.registry import find_model
from strokelabel.reports.evaluation.cases import EvaluationCase, find_cases, read_pairs
from strokelabel.reports.evaluation.models import ScoringModel, image_of
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
        self.tissues = tissues
        self.path = path

    def align(self, image: Image, prediction: Prediction) -> Registration | None:
        """Return the alignment from the file, or make it."""
        known = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        if image.source not in known:
            # Not by the labeller, even if it knows tissues: it was trained for minutes.
            made = align_with_icbm(self.tissues.predict(image).labels, image.grid)
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
            for arm in sorted(self.plan["arms"], key=lambda arm: arm != self.plan["labeller"]):
                yield Run(arm, seed, self.folder / f"seed-{seed}" / arm.lower().replace(" ", ""))

    def finish(self, run: Run) -> None:
        """Train, export and score a run, whatever of it is not done yet."""
        if run.scores.exists():
            return
        if not run.weights.exists():
            self._train(run, self.plan["arms"][run.arm], self.steps(run.arm), self.start())
        scores = score(run, self.cases)
        atomic_write_text(run.scores, scores.to_csv(index=False))

    def start(self) -> str:
        """Return the file of the weights that all arms begin with, trained if they are not there yet."""
        run, own = Run("start", 0, self.folder / "start"), dict(self.plan["start"])
        seconds = own.pop("seconds")
        if not run.weights.exists():
            pace = self._pace("start", own, None)
            self._train(run, own, max(2, round(seconds / pace)), None)
        return str(run.weights)

    def _train(self, run: Run, own: dict[str, Any], steps: int, weights: str | None) -> None:
        """Train and export, going on from where an earlier call was stopped.

        Raises:
            KeyboardInterrupt: the training was stopped on request.
        """
        recipe = self.recipe(run, own, steps)
        whole, began = not list_checkpoints(run.folder), time.process_time()
        result = train_recipe(
            recipe, self.data, run.folder, device="cpu", cache=self.folder / "real-cache", weights=weights
        )
        if not result.finished:
            raise KeyboardInterrupt
        # The CPU time of a training that was interrupted is not known.
        cpu_seconds = time.process_time() - began if whole else None
        seconds = {"cpu_seconds": cpu_seconds, "wall_seconds": result.seconds}
        atomic_write_json(run.folder / "training.json", {"steps": result.steps, **seconds})
        spec = describe_model(recipe, run.weights, "0", "CC0-1.0")
        export_weights(run.folder, spec, run.weights, which="newest")

    def recipe(self, run: Run, own: dict[str, Any], steps: int) -> Recipe:
        """Return the recipe of an arm: the one that it extends, with what all share, its parts and its own changes."""
        own = dict(own)
        masks_for_truth = own.pop("masks_for_truth", False)
        parts = [self.plan["parts"][name] for name in own.pop("parts", [])]
        layers = [{"extends": own.pop("extends"), **self.plan["common"]}, *parts, own]
        layers.append({"name": run.arm, "seed": run.seed, "training": {"steps": steps, "seed": run.seed}})
        for number, layer in enumerate(layers):
            below = {"extends": f"layer-{number - 1}.yaml"} if number else {}
            atomic_write_text(run.folder / f"layer-{number}.yaml", yaml.safe_dump(below | layer))
        recipe = load_recipe(run.folder / f"layer-{len(layers) - 1}.yaml")
        real, labels = None, None
        if recipe.real is not None:
            real = self.with_pseudo_labels(run.seed) if masks_for_truth else self.cohorts.annotated
        if recipe.pseudo_labels is not None:
            labels = self.pseudo_labels(run.seed)
            if not any(label.trains() for label in read_pseudo_labels(labels)):
                print("  no pseudo-label was accepted: trained without any", flush=True)
                labels, recipe = None, recipe.model_copy(update={"pseudo_labels": None})
        return _with_parts(with_folders(recipe, real, labels))

    def steps(self, arm: str) -> int:
        """Return how many optimiser steps of an arm take `seconds` of CPU time.

        An arm with pseudo-labels takes as many as its partner.
        """
        partner = self.plan["pairs"].get(arm, arm)
        return max(2, round(self.seconds / self._pace(partner, self.plan["arms"][partner], self.start())))

    def _pace(self, name: str, own: dict[str, Any], weights: str | None) -> float:
        """Return the CPU time of an optimiser step in seconds, images included: measured once, and kept."""
        path = self.folder / "pace.json"
        paces = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if name not in paces:
            folder = self.folder / "pace" / name.lower().replace(" ", "")
            recipe = self.recipe(Run(name, 0, folder), own, _UNTIMED_STEPS + _TIMED_STEPS)
            times: list[float] = []

            def note(_: TrainingProgress) -> None:
                times.append(time.process_time())

            cache = self.folder / "real-cache"
            train_recipe(
                recipe, self.data, folder, device="cpu", cache=cache, weights=weights, on_progress=note
            )
            shutil.rmtree(folder)
            paces[name] = (times[-1] - times[_UNTIMED_STEPS - 1]) / (len(times) - _UNTIMED_STEPS)
            atomic_write_json(path, paces)
        return float(paces[name])

    def pseudo_labels(self, seed: int) -> Path:
        """Return the folder of a seed's pseudo-labels, drawn if they are not there yet: by an arm or a known model."""
        name = self.plan["labeller"]
        by_arm = name in self.plan["arms"]
        place = self.folder / f"seed-{seed}" if by_arm else self.folder
        folder, table = place / "pseudo-labels", place / "pseudo-labels.csv"
        if table.exists():
            return folder
        model = (
            str(next(r for r in self.runs() if (r.arm, r.seed) == (name, seed)).weights) if by_arm else name
        )
        options = PredictionOptions(tta=True, keep_probabilities=False)
        predictor = Predictor.from_model(model, "cpu", options)
        tissues = Predictor.from_model(self.tissues, "cpu", PredictionOptions(keep_probabilities=False))
        gate = QualityGate(**self.plan["gate"])
        scans = search_images([str(self.cohorts.unlabelled)]).images
        labeler = OnceAligned(predictor, folder, gate, tissues, self.folder / "alignments.json")
        for row in labeler.label_scans(scans):
            verdict = "failed" if row.label is None else "; ".join(row.label.reasons) or "accepted"
            print(f"  pseudo-label of {Path(row.source).name}: {verdict}", flush=True)
        rows = [_judge(label, folder, self.cohorts.truth) for label in read_pseudo_labels(folder)]
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
        folders = dict.fromkeys(self.pseudo_labels(seed) for seed in sorted(seeds))
        tables = [pd.read_csv(folder.with_suffix(".csv")) for folder in folders]
        labels = pd.concat(tables)
        taken = labels[labels["accepted"]]
        counts = " / ".join(str(int(table["accepted"].sum())) for table in tables)
        cpu, wall = times["cpu_seconds"], times["wall_seconds"]
        return (
            f"{len(runs)} of {len(list(self.runs()))} runs; a training took {cpu.mean():.0f} s of CPU time "
            f"({cpu.min():.0f} to {cpu.max():.0f}), {wall.mean():.0f} s of the clock, on one thread of {_processor()}. "
            f"Steps: {steps}. {sizes.annotated} annotated subjects, {sizes.unlabelled} unlabelled ones. Accepted "
            f"pseudo-labels of {self.plan['labeller']}: {counts}; their mean Dice with the simulated truth is "
            f"{taken['dice'].mean():.2f}, that of the others {labels[~labels['accepted']]['dice'].mean():.2f}."
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


def _judge(label: PseudoLabel, folder: Path, truth: Path) -> dict[str, Any]:
    """Return how good a pseudo-label is, which only a simulated cohort can tell."""
    subject = _subject(Path(label.source))
    known = read_label_image(mask_path(truth, subject)).data > 0
    drawn = read_label_image(folder / label.mask).data > 0
    return {
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

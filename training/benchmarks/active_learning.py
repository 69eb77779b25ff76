"""Comparison of active learning strategies by simulated annotators on synthetic subjects.

    python training/benchmarks/active_learning.py --prepared prepared -o runs/active-learning

In each seed a pool of scans of mostly known contrasts, with a few of contrasts that the model has not seen, waits to be
labelled. In each round a strategy chooses some, the simulated annotator submits their true masks, and the model is
fine-tuned on all labels so far by `strokelabel.fit.fine_tuning`, as the server does it (without its gate: each
version takes over, so that strategies are compared). After each round the model is scored on other subjects.

All strategies of a seed see the same pool, the same test scans and the same seed of training. What is finished is not
repeated, so the command can be stopped and given again. Written are scores.csv, choices.csv, summary.md and a picture.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
import torch
from active_learning_cases import KNOWN, NEW, SimulatedScan, make_scans
from active_learning_report import PICTURE, put_into_document, write_report

from strokelabel.fit.fine_tuning.cases import SubmittedLabel
from strokelabel.fit.fine_tuning.fine_tune import FineTuning
from strokelabel.fit.fine_tuning.options import FineTuneOptions
from strokelabel.fit.fine_tuning.synthetic import SyntheticPart, synthetic_part
from strokelabel.fit.fine_tuning.versions import ModelVersions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io.atomic import atomic_write_json
from strokelabel.io.images import read_image
from strokelabel.metrics import dice
from strokelabel.registry import ModelSpec, find_model
from strokelabel.selection import ScanScore, farthest_first, score_scan

STRATEGIES = ("random", "uncertainty", "diversity")


@dataclass(frozen=True)
class Plan:
    """Sizes of the simulation.

    Attributes:
        pool: contrast of each scan that may be labelled.
        test: contrast of each scan that is scored.
        rounds: how often scans are chosen.
        per_round: how many scans are chosen at once.
        steps: of fine-tuning after each round.
        learning_rate: of fine-tuning.
        synthetic_fraction: of the training items.
    """

    pool: tuple[str, ...] = (*KNOWN * 2, *NEW * 2)
    test: tuple[str, ...] = (*KNOWN, *NEW * 2)
    rounds: int = 2
    per_round: int = 2
    steps: int = 20
    learning_rate: float = 1e-3
    synthetic_fraction: float = 0.5

    def options(self, seed: int) -> FineTuneOptions:
        """Return the options of one fine-tuning session; a margin of 1 accepts every version."""
        return FineTuneOptions(
            steps=self.steps,
            learning_rate=self.learning_rate,
            synthetic_fraction=self.synthetic_fraction,
            validation_fraction=0,
            paste_lesions=False,
            margin=1,
            benchmark_per_family=1,
            validations=1,
            precision="bf16-mixed",
            threads=1,
            seed=seed,
        )


QUICK = Plan(pool=(*KNOWN[:2], *NEW), test=(KNOWN[0], NEW[0]), rounds=1, per_round=1, steps=2)
"""For the test: everything happens, nothing is learnt."""


@dataclass(frozen=True)
class Simulation:
    """Simulation of one seed: a pool, test scans, and the result of each strategy.

    Attributes:
        plan: sizes.
        seed: of scans, choices and training.
        origin: the model that fine-tuning begins with.
        prepared: folder of `strokelabel prepare`; None for the ICBM template's data.
        folder: of this seed alone.
    """

    plan: Plan
    seed: int
    origin: ModelSpec
    prepared: Path | None
    folder: Path

    def run(self, synthetic: SyntheticPart, strategies: Sequence[str]) -> list[dict[str, Any]]:
        """Return rows of scores, for the initial model and after each round of each strategy."""
        pool = make_scans(
            synthetic, "train", self.plan.pool, 100_000 + 1000 * self.seed, self.folder / "pool"
        )
        test = make_scans(
            synthetic, "validation", self.plan.test, 200_000 + 1000 * self.seed, self.folder / "test"
        )
        before = self._remembered("before.json", lambda: self._scores(self.origin, test))
        rows = []
        for strategy in strategies:
            rows += [{"strategy": strategy, "round": 0, "chosen": [], **row} for row in before]
            rows += self._strategy(strategy, pool, test)
        return [{"seed": self.seed, **row} for row in rows]

    def _strategy(
        self, strategy: str, pool: list[SimulatedScan], test: list[SimulatedScan]
    ) -> list[dict[str, Any]]:
        versions = ModelVersions(self.folder / strategy, self.origin)
        chosen: list[str] = []
        rows: list[dict[str, Any]] = []
        for number in range(1, self.plan.rounds + 1):
            name = f"{strategy}-{number}.json"

            def one_round() -> dict[str, Any]:
                new = self._choose(strategy, number, versions.active()[1], pool, chosen)  # noqa: B023
                labels = [submitted(scan) for scan in pool if scan.name in {*chosen, *new}]  # noqa: B023
                tuning = FineTuning(versions, self.folder / strategy / "training", self.prepared, "cpu")
                tuning.run(labels, self.plan.options(self.seed))
                return {"chosen": new, "scores": self._scores(versions.active()[1], test)}

            outcome = self._remembered(name, one_round)
            chosen += outcome["chosen"]
            rows += [
                {"strategy": strategy, "round": number, "chosen": outcome["chosen"], **row}
                for row in outcome["scores"]
            ]
        return rows

    def _choose(
        self, strategy: str, number: int, spec: ModelSpec, pool: list[SimulatedScan], chosen: list[str]
    ) -> list[str]:
        """Return the names of the scans to label next."""
        left = [scan.name for scan in pool if scan.name not in chosen]
        count = self.plan.per_round
        if strategy == "random":
            return [
                str(name) for name in np.random.default_rng([self.seed, number]).choice(left, count, False)
            ]
        if strategy == "uncertainty":
            scores = self._scored(spec, [scan for scan in pool if scan.name in left])
            return sorted(left, key=lambda name: -scores[name].uncertainty)[:count]
        scores = self._scored(
            self.origin, pool
        )  # what a scan looks like does not change much with the weights
        known = [scores[name].descriptor for name in chosen]
        return [left[i] for i in farthest_first([scores[name].descriptor for name in left], known, count)]

    def _scored(self, spec: ModelSpec, pool: list[SimulatedScan]) -> dict[str, ScanScore]:
        """Return the uncertainty and descriptor of each scan by some weights; computed once for each."""
        predictor = Predictor.from_model(str(spec.path), "cpu")

        def score_all() -> dict[str, Any]:
            return {scan.name: vars(score_scan(predictor, read_image(scan.image))) for scan in pool}

        stored = self._remembered(f"pool-{spec.sha256[:16]}.json", score_all)
        return {name: ScanScore(**values) for name, values in stored.items()}

    def _scores(self, spec: ModelSpec, test: list[SimulatedScan]) -> list[dict[str, Any]]:
        predictor = Predictor.from_model(str(spec.path), "cpu")
        rows = []
        for scan in test:
            truth = np.asarray(cast(nib.Nifti1Image, nib.load(scan.truth)).dataobj) > 0
            found = predictor.predict(read_image(scan.image)).lesion_mask
            rows.append(
                {"scan": scan.name, "kind": scan.kind, "new": scan.new, "dice": round(dice(truth, found), 4)}
            )
        return rows

    def _remembered(self, name: str, make: Any) -> Any:  # noqa: ANN401 - JSON
        path = self.folder / name
        if not path.is_file():
            atomic_write_json(path, make())
        return json.loads(path.read_text(encoding="utf-8"))


def submitted(scan: SimulatedScan) -> SubmittedLabel:
    """Return the true mask, as an annotator's label."""
    return SubmittedLabel(scan.name, scan.name, scan.image, scan.truth)


def main(arguments: list[str] | None = None) -> None:
    """Simulate what is missing, and write the report after each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--prepared", type=Path, help="folder of `strokelabel prepare`; the ICBM template without"
    )
    parser.add_argument("--model", default="base", help="name or weights file that fine-tuning begins with")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/active-learning"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--document", type=Path, help="Markdown file that receives results and picture")
    parser.add_argument("--quick", action="store_true", help="a run of seconds that learns nothing")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    plan = QUICK if options.quick else Plan()
    origin = find_model(options.model)
    synthetic = synthetic_part(origin, options.prepared, options.output / "synthetic", torch.device("cpu"))
    if synthetic is None:
        parser.error("expected a model of the classes of `base`, and a place to write synthetic data to")
    atomic_write_json(options.output / "plan.json", {**vars(plan), "model_sha256": origin.sha256})
    rows: list[dict[str, Any]] = []
    for seed in range(1, options.seeds + 1):
        folder = options.output / f"seed-{seed}"
        rows += Simulation(plan, seed, origin, options.prepared, folder).run(synthetic, STRATEGIES)
        print(f"seed {seed} of {options.seeds} is done", flush=True)
        summary = write_report(rows, vars(plan), options.output)
        if options.document:
            put_into_document(summary, options.output / PICTURE, options.document)
    print(summary)


if __name__ == "__main__":
    main()

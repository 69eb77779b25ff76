"""Table of the paper: models and ways to adapt them, on known sequences, all together, and unseen contrasts.

    python training/benchmarks/adaptation_table.py training/benchmarks/adaptation_table.yaml --prepared prepared \\
        -o runs/adaptation-table

TTA, TENT and DAE use every scan by itself. PL, UPL and DPL make a model from the unlabelled subjects of a data set (all
known sequences; an unseen contrast), which is scored on other subjects. The ensemble of a subject averages the logits
of its known sequences, which lie on one grid here, in each method. Dice is that of the lesion on the scan's own grid.

What is finished is not repeated, so the command can be stopped and given again, also with other methods
(`--methods none,tent`). Written are scores.csv, table.md and adaptation-table.png.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
import yaml
from adaptation_cohort import DATASETS, SEQUENCES, Cohort, make_cohorts
from adaptation_table_report import put_into_document, write_report
from pseudo_label_cohorts import CohortSizes

from strokelabel.adaptation.adapt import adapt
from strokelabel.adaptation.cohort.run import MODEL, CohortAdaptation
from strokelabel.adaptation.denoiser import LabelDenoiser
from strokelabel.adaptation.options import AdaptationOptions, CohortMethod, CohortOptions, Method
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.prediction import Scores, decide, gather_scores
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import Image, read_image, read_label_image
from strokelabel.io.atomic import atomic_write_text
from strokelabel.metrics import dice
from strokelabel.synthesis.prepared.dataset import PreparedData

METHODS = ("none", "tta", "tent", "dae", "pl", "upl", "dpl")
_COHORT_METHODS = ("pl", "upl", "dpl")
_FLOOR = 1e-6
"""Least probability, before its logarithm."""


class Benchmark:
    """The scores of a plan, in one folder.

    Args:
        plan: content of the YAML file.
        data: prepared brains and lesions.
        folder: receives everything.
        denoiser: name or file of the autoencoder of DAE.
    """

    def __init__(self, plan: dict[str, Any], data: PreparedData, folder: Path, denoiser: str) -> None:
        self.plan, self.folder, self.denoiser = plan, folder, denoiser
        sizes = CohortSizes(**plan["cohorts"])
        self.unlabelled, self.test = make_cohorts(data, sizes, plan["seed"], folder / "cohorts")
        self._rows = folder / "scores.jsonl"
        self._denoisers: dict[str, LabelDenoiser] = {}

    def scores(self) -> pd.DataFrame:
        """Return a row for each scan and ensemble that was scored."""
        lines = self._rows.read_text(encoding="utf-8").splitlines() if self._rows.exists() else []
        return pd.DataFrame([json.loads(line) for line in lines])

    def finish(self, methods: Sequence[str]) -> None:
        """Score what is missing: subject by subject, so that a part of the table is of fewer subjects."""
        known = self.scores()
        done = set() if known.empty else set(zip(known["model"], known["method"], known["unit"], strict=True))
        for subject in self.test.subjects:
            for model in self.plan["models"]:
                for method in (m for m in methods if (model, m, subject) not in done):
                    began = time.monotonic()
                    rows = [
                        {"model": model, "method": method, "unit": subject, **row}
                        for row in self._subject(model, method, subject)
                    ]
                    text = "".join(json.dumps(row) + "\n" for row in rows)
                    with self._rows.open("a", encoding="utf-8") as file:
                        file.write(text)
                    print(f"{subject}, {model}, {method}: {time.monotonic() - began:.0f} s", flush=True)

    def _subject(self, model: str, method: str, subject: str) -> Iterator[dict[str, Any]]:
        """Yield the scores of a subject: its scans, and the ensemble of its known sequences."""
        total: np.ndarray | None = None
        for dataset, suffixes in DATASETS.items():
            predictor = self._predictor(model, method, dataset)
            truth = read_label_image(self.test.mask(dataset, subject)).data > 0
            for suffix in suffixes:
                image = read_image(self.test.scan(dataset, subject, suffix))
                scores, facts = self._scores(predictor, method, image)
                group = suffix if dataset == "sequences" else dataset
                yield {"group": group, **judged(predictor, scores, image, truth), **facts}
                if dataset == "sequences":
                    assert scores.probabilities is not None, "the options keep them"
                    logits = np.log(np.maximum(scores.probabilities, _FLOOR))
                    total = logits if total is None else total + logits
            if dataset == "sequences" and total is not None:
                together = ensemble(predictor, total / len(SEQUENCES), scores)
                yield {"group": "ensemble", **judged(predictor, together, image, truth)}

    def _scores(self, predictor: Predictor, method: str, image: Image) -> tuple[Scores, dict[str, Any]]:
        """Return the scores of a scan, and what an adaptation says of itself."""
        if method not in ("tent", "dae"):
            return predictor.scores(image, PredictionOptions(tta=method == "tta")), {}
        adaptation = AdaptationOptions(cast(Method, method), iterations=self.plan["iterations"])
        denoiser = self._denoiser(predictor) if method == "dae" else None
        found = adapt(predictor, image, adaptation, PredictionOptions(), denoiser=denoiser)
        report = found.report.as_json()
        kept = ("kept", "reason", "objective_before", "objective_after", "entropy_before", "entropy_after")
        return found.scores, {key: report[key] for key in kept}

    def _denoiser(self, predictor: Predictor) -> LabelDenoiser:
        """Return the autoencoder for a model, loaded once."""
        if predictor.spec.name not in self._denoisers:
            loaded = LabelDenoiser.load(self.denoiser, predictor.spec, predictor.device)
            self._denoisers[predictor.spec.name] = loaded
        return self._denoisers[predictor.spec.name]

    def _predictor(self, model: str, method: str, dataset: str) -> Predictor:
        """Return the model, for a method of cohorts adapted to the unlabelled subjects of a data set."""
        source = self.plan["models"][model]
        if method not in _COHORT_METHODS:
            return _load(source)
        folder = self.folder / "models" / model / method / dataset
        if not (folder / MODEL).exists():
            self._adapt_model(source, cast(CohortMethod, method), dataset, folder)
        return _load(str(folder / MODEL))

    def _adapt_model(self, source: str, method: CohortMethod, dataset: str, folder: Path) -> None:
        """Adapt a model to a cohort; it is scored whatever speaks against it, as in the paper."""
        plan = self.plan
        dropout = None if method == "pl" else plan["dropout"]
        options = CohortOptions(
            method, steps=plan["steps"], learning_rate=plan["learning_rate"], dropout=dropout
        )
        images = scans_of(self.unlabelled, dataset)
        began = time.monotonic()
        adaptation = CohortAdaptation(_load(source), images, folder, options)
        for _ in adaptation.label():
            pass
        result = adaptation.train()
        if result is not None and not result.finished:
            raise KeyboardInterrupt
        report = adaptation.finish(force=True)
        against = "; ".join(report.objections) or "nothing"
        print(
            f"{method}, {dataset}: {len(images)} scans, {time.monotonic() - began:.0f} s; against it: {against}",
            flush=True,
        )


def scans_of(cohort: Cohort, dataset: str) -> list[Path]:
    """Return all scans of a data set of a cohort."""
    return [cohort.scan(dataset, s, suffix) for s in cohort.subjects for suffix in DATASETS[dataset]]


@lru_cache(maxsize=2)
def _load(model: str) -> Predictor:
    return Predictor.from_model(model, "cpu")


def ensemble(predictor: Predictor, logits: np.ndarray, like: Scores) -> Scores:
    """Return the scores of averaged logits (classes, i, j, k).

    Args:
        predictor: its classes.
        logits: on the grid of all scans.
        like: scores of one of the scans, whose brain is taken.
    """
    probabilities = torch.softmax(torch.from_numpy(logits), dim=0).numpy()
    lesion = predictor.spec.class_names.index("lesion")
    i, j, k = like.other_labels.shape
    return gather_scores(probabilities, (i, j, k), lesion, brain=like.brain)


def judged(predictor: Predictor, scores: Scores, image: Image, truth: np.ndarray) -> dict[str, Any]:
    """Return Dice, and volumes in ml of the true lesion and of the one that was found."""
    options = dataclasses.replace(predictor.options, keep_probabilities=False)
    ml = image.grid.voxel_volume_ml
    found = decide(scores, ml, predictor.spec, options).lesion_mask > 0
    volumes = {"reference_ml": float(truth.sum() * ml), "found_ml": float(found.sum() * ml)}
    return {"dice": dice(truth, found), **volumes}


def main(arguments: list[str] | None = None) -> None:
    """Finish what is missing, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("plan", type=Path, help="YAML: models, cohorts, iterations, steps, methods")
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/adaptation-table"))
    parser.add_argument("--denoiser", default="denoiser", help="autoencoder of the method dae")
    parser.add_argument("--methods", type=lambda text: text.split(","), help="some of the plan's alone")
    parser.add_argument("--table", action="store_true", help="score nothing: the report of what there is")
    parser.add_argument("--document", type=Path, help="Markdown page whose results are replaced")
    chosen = parser.parse_args(arguments)
    plan = yaml.safe_load(chosen.plan.read_text(encoding="utf-8"))
    methods = chosen.methods or plan["methods"]
    if unknown := [name for name in methods if name not in METHODS]:
        parser.error(f"expected methods of {', '.join(METHODS)}, got {', '.join(unknown)}")
    torch.set_num_threads(1)
    benchmark = Benchmark(plan, PreparedData.load(chosen.prepared), chosen.output, chosen.denoiser)
    if not chosen.table:
        benchmark.finish(methods)
    scores = benchmark.scores()
    atomic_write_text(chosen.output / "scores.csv", scores.to_csv(index=False))
    text = write_report(scores, plan, chosen.output)
    print(text)
    if chosen.document is not None:
        put_into_document(text, chosen.output, chosen.document)


if __name__ == "__main__":
    main()

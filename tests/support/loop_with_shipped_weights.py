"""The annotation loop over HTTP with the shipped weights: six scans of a new contrast corrected, four others segmented.

    PYTHONPATH=training:training/benchmarks:tests python -m support.loop_with_shipped_weights \
        --prepared prepared -o runs/loop

Prints the lesion Dice of the four scans before and after, and the decision with its numbers. The scans are simulated
from heads and lesions that nothing is trained on (the four) or that synthetic training uses too (the six).
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from active_learning_cases import NEW, SimulatedScan, make_scans

from strokelabel.fit.fine_tuning.synthetic import synthetic_part
from strokelabel.metrics import dice
from strokelabel.registry import find_model
from support import app_server
from support.app_train import mask, submit, wait_for

SUBMITTED, UNSEEN = 6, 4


def simulate(
    prepared: Path, contrast: str, folder: Path, studies: Path
) -> tuple[list[str], list[str], dict[str, np.ndarray]]:
    """Write the scans into the studies folder; returns ids to submit, ids to judge by, and the truth of all."""
    synthetic = synthetic_part(find_model("base"), prepared, folder / "synthetic", torch.device("cpu"))
    if synthetic is None:
        raise SystemExit(f"{prepared}: expected a folder of `strokelabel prepare`")
    parts = [("train", SUBMITTED, 0, 40_000), ("validation", UNSEEN, SUBMITTED, 41_000)]
    ids: list[list[str]] = []
    truth: dict[str, np.ndarray] = {}
    studies.mkdir(parents=True, exist_ok=True)
    for part, count, first, seed in parts:
        scans = make_scans(synthetic, part, [contrast] * count, seed, folder / part)
        ids.append(
            [_put(scan, f"sub-{first + i + 1:02d}_T1w", studies, truth) for i, scan in enumerate(scans)]
        )
    return ids[0], ids[1], truth


def _put(scan: SimulatedScan, name: str, studies: Path, truth: dict[str, np.ndarray]) -> str:
    shutil.copyfile(scan.image, studies / f"{name}.nii.gz")
    truth[name] = np.asarray(nib.load(scan.truth).dataobj) > 0
    return name


def main() -> None:
    """Walk the loop once."""
    parser = argparse.ArgumentParser(description="Walk the annotation loop with the shipped weights.")
    parser.add_argument("--prepared", type=Path, required=True)
    parser.add_argument("--contrast", choices=NEW, default=NEW[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/loop"))
    options = parser.parse_args()
    if options.output.exists():
        raise SystemExit(f"{options.output}: expected a folder that does not exist yet")
    studies = options.output / "studies"
    annotated, unseen, truth = simulate(options.prepared, options.contrast, options.output / "made", studies)
    folder = options.output / "server"
    folder.mkdir(parents=True)
    server = app_server.start(
        folder.resolve(), studies.resolve(), "prepared", str(options.prepared.resolve())
    )
    try:
        before = {scan: round(dice(truth[scan], mask(server, scan)), 3) for scan in unseen}
        done: set[str] = set()
        while left := set(annotated) - done:
            scan = server.post("/activelearning/random", json={}).json()["id"]
            if scan not in left:  # one of the four, which nobody labels
                continue
            mask(server, scan)
            submit(server, scan, truth[scan], options.output)
            done.add(scan)
        began = time.monotonic()
        request = {"max_epochs": options.epochs, "device": "cpu"}
        assert server.post("/train/segment", json=request).status_code == 200
        wait_for(lambda: server.get("/train/").json()["status"] in ("DONE", "ERROR"), seconds=3600)
        stats = server.get("/info/").json()["train_stats"]["segment"]
        minutes = (time.monotonic() - began) / 60
        after = {scan: round(dice(truth[scan], mask(server, scan)), 3) for scan in unseen}
        model = server.infer("segment", unseen[0], "json").json()["model"]
    finally:
        app_server.stop(server)
    decision = stats["result"]["decision"]
    report = {
        "contrast": options.contrast, "before": before, "after": after,
        "rise": round(float(np.mean(list(after.values())) - np.mean(list(before.values()))), 3),
        "benchmark": {name: decision[name]["benchmark"] for name in ("before", "after", "origin")},
        "submitted": {name: decision[name]["submitted"] for name in ("before", "after")},
        "activated": decision["activate"], "reasons": decision["reasons"], "model": model,
        "steps": stats["result"]["steps"], "minutes": round(minutes, 1), "machine": platform.machine(),
    }  # fmt: skip
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

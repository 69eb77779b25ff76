"""Effect of the rule that drops lesions outside the brain: false lesion removed, and true infarct lost.

    python training/benchmarks/outside_brain.py --prepared prepared --scans scans/lesion-free scans/validation

(a) Lesion-free scans: all that is found is false. Lesion in ml before and after the rule; what is left lies in the
    brain or touches it.
(b) Synthetic heads with lesions of the bank: the largest ones, and small ones of brainstem, cerebellum and cortex. True
    lesion in ml that the rule takes from the network's answer, and what it would take from a perfect answer: the true
    mask, with the brain as the network predicts it. Each head whole and as a stack of 25 mm about its lesion.
(c) For comparison, what is lost of the network's answer when all voxels outside a 12 mm closing of the predicted
    parenchyma are dropped, and when whole pieces outside that closing are, without mirror image.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from strokelabel.fit.data.recipe_streams import make_synthesizer
from strokelabel.fit.recipe import load_recipe
from strokelabel.geometry import CanonicalGrid
from strokelabel.inference.head import block_means
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.postprocessing import closed, outside_brain
from strokelabel.inference.segment.prediction import Scores, decide
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import Image, read_image, search_images
from strokelabel.labels import TissueClass
from strokelabel.metrics import largest_component, volume_ml
from strokelabel.reports.contact_sheet import make_panel, save_contact_sheet
from strokelabel.reports.validation import as_scan
from strokelabel.synthesis.benchmark import (
    THICK_SLICE_MM,
    VALIDATION_FAMILIES,
    ValidationCase,
    make_case,
    validation_config,
)
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.lesions.bank import LesionBank
from strokelabel.synthesis.prepared.dataset import PreparedData
from strokelabel.synthesis.prepared.icbm import icbm_template
from strokelabel.types import Mask

FIRST_SEED = 40_000
SHAPE, SPACING_MM = (128, 160, 144), 1.5
STACK_VOXELS, BLOCK, CLOSING_MM = 17, 2, 12.0
SMALL_ML, LARGE_ML = (0.3, 10.0), 100.0
BELOW_MM, SURFACE_MM = -20.0, 8.0
"""Brainstem and cerebellum begin below this z in ICBM space; a lesion this near to the brain's surface is cortical."""

PLAIN = PredictionOptions(keep_probabilities=False)


@dataclass(frozen=True)
class Loss:
    """True lesion of one scan in ml, and what each way of dropping takes of it.

    Attributes:
        kind: "large", "posterior" or "surface"; with "stack" where it is one.
        true: volume of the lesion.
        found: of it, what the network finds.
        of_found: of that, what the rule drops.
        of_true: what the rule drops of the true mask.
        without_mirror: what the rule drops of what is found when the closed parenchyma is all of the brain.
        cut: what a cut at the closed parenchyma drops of what is found.
        false: false lesion that the rule drops from the network's answer.
    """

    kind: str
    true: float
    found: float
    of_found: float
    of_true: float
    without_mirror: float
    cut: float
    false: float


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("--scans", nargs="*", default=[], help="lesion-free scans, or folders of them")
    parser.add_argument("--model", default="base")
    parser.add_argument("--large", type=int, default=60, help="of the largest lesions")
    parser.add_argument("--small", type=int, default=20, help="of each kind of small ones")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/outside-brain"), help="for pictures")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    predictor = Predictor.from_model(arguments.model, "cpu", PLAIN)
    if arguments.scans:
        report_lesion_free(predictor, arguments.scans, arguments.output)
    losses, panels = [], []
    for scan, truth, kind in synthetic_scans(arguments.prepared, arguments.large, arguments.small):
        scores = predictor.scores(scan)
        losses.append(loss(predictor, scan, scores, truth, kind))
        print(f"{kind}: {scan.source}: {losses[-1].of_true:.2f} of {losses[-1].true:.1f} ml", flush=True)
        if scores.brain is not None and losses[-1].of_true > 0:
            panels.append(make_panel(scan.data, {"lime": truth, "cyan": scores.brain}, scan.source))
    save_contact_sheet(panels, arguments.output / "lost.png")
    report_losses(losses)


def report_lesion_free(predictor: Predictor, inputs: list[str], folder: Path) -> None:
    """Print a row for each scan; draw those in which something was dropped."""
    print("| lesion-free scan | lesion before (ml) | after | outside the brain |\n|---|---|---|---|")
    panels = []
    for path in search_images(inputs).images:
        scan = read_image(path)
        scores = predictor.scores(scan)
        before, after = (
            decide(scores, scan.grid.voxel_volume_ml, predictor.spec, replace(PLAIN, keep_outside_brain=kept))
            for kept in (True, False)
        )
        print(
            f"| {path.name} | {before.volume_ml:.2f} | {after.volume_ml:.2f} | {after.outside_brain_ml:.2f} |",
            flush=True,
        )
        if after.outside_brain_ml and scores.brain is not None:
            turned = CanonicalGrid.for_image(scan.grid.shape, scan.affine)
            dropped = turned.forward_labels(before.lesion_mask > after.lesion_mask)
            outlines = {"red": dropped, "cyan": turned.forward_labels(scores.brain)}
            panels.append(make_panel(turned.forward(scan.data), outlines, path.name[:20]))
    save_contact_sheet(panels, folder / "dropped.png")


def loss(predictor: Predictor, scan: Image, scores: Scores, truth: Mask, kind: str) -> Loss:
    """Return the cost of dropping in one scan."""
    ml = scan.grid.voxel_volume_ml
    before, after = (
        decide(scores, ml, predictor.spec, replace(PLAIN, keep_outside_brain=kept)).lesion_mask > 0
        for kept in (True, False)
    )
    region = closing_of_parenchyma(scores)
    return Loss(
        kind=kind,
        true=volume_ml(truth, ml),
        found=volume_ml(truth & before, ml),
        of_found=volume_ml(truth & before & ~after, ml),
        of_true=0.0 if scores.brain is None else volume_ml(outside_brain(truth, scores.brain, ml), ml),
        without_mirror=volume_ml(truth & outside_brain(before, region, ml), ml),
        cut=volume_ml(truth & before & ~region, ml),
        false=volume_ml(before & ~after & ~truth, ml),
    )


def closing_of_parenchyma(scores: Scores) -> Mask:
    """Return the largest piece of predicted gray and white matter, closed, on its grid of 1.5 mm."""
    labels = scores.other_labels
    tissue = (labels > 0) & (labels < TissueClass.CSF) & ~scores.lesion_is_likeliest
    coarse = largest_component(block_means(tissue.astype(np.float32), BLOCK) >= 0.5)
    if not coarse.any():
        return np.zeros_like(tissue)
    fine = closed(coarse, BLOCK * SPACING_MM, CLOSING_MM).repeat(BLOCK, 0).repeat(BLOCK, 1).repeat(BLOCK, 2)
    x, y, z = labels.shape
    return fine[:x, :y, :z]


def synthetic_scans(prepared: Path, large: int, small: int) -> Iterator[tuple[Image, Mask, str]]:
    """Yield the heads with one lesion each, whole and as a stack about it; contrasts, slices and heads
    change in turn.
    """
    data, config = PreparedData.load(prepared), validation_config(SHAPE, SPACING_MM)
    config = config.model_copy(
        update={"lesion": config.lesion.model_copy(update={"count_weights": {1: 1.0}})}
    )
    heads = make_synthesizer(data, load_recipe("base"), "validation", config, "cpu").heads
    for index, (lesion, kind) in enumerate(chosen_lesions(data.lesions, large, small)):
        maker = Synthesizer(heads, data.lesions.subset([lesion]), data.table, config)
        family = VALIDATION_FAMILIES[index % len(VALIDATION_FAMILIES)]
        slice_mm = THICK_SLICE_MM if index // len(VALIDATION_FAMILIES) % 2 else None
        batch = make_case(maker, ValidationCase(index, family, slice_mm, FIRST_SEED + index))
        truth = batch.target[0].numpy() == TissueClass.LESION
        name = f"{data.lesions.names[lesion]} {family}"
        scan = as_scan(batch, SPACING_MM, name)
        yield scan, truth, kind
        middle = int(np.median(np.nonzero(truth)[2])) if truth.any() else truth.shape[2] // 2
        stack = slice(max(0, middle - STACK_VOXELS // 2), middle + STACK_VOXELS // 2 + 1)
        part = Image(scan.data[:, :, stack].copy(), scan.affine, source=f"{name} stack")
        yield part, truth[:, :, stack], f"{kind}, stack"


def chosen_lesions(bank: LesionBank, large: int, small: int) -> list[tuple[int, str]]:
    """Return the indices of lesions and their kind: the largest, and small ones of the places that a rule might cut
    off.
    """
    largest = np.argsort(-bank.volumes_ml)[:large]
    chosen = [(int(i), "large") for i in largest if bank.volumes_ml[i] > LARGE_ML]
    template = icbm_template()
    depth = ndimage.distance_transform_edt(template.brain)
    inside: dict[str, Callable[[np.ndarray], bool]] = {
        "posterior": lambda voxel: bool((bank.affine[:3, :3] @ voxel + bank.affine[:3, 3])[2] < BELOW_MM),
        "surface": lambda voxel: bool(depth[tuple(voxel)] < SURFACE_MM),
    }
    candidates = np.flatnonzero((bank.volumes_ml >= SMALL_ML[0]) & (bank.volumes_ml <= SMALL_ML[1]))
    candidates = np.random.default_rng(FIRST_SEED).permutation(candidates)
    for kind, fits in inside.items():
        centers = ((i, np.argwhere(bank.crop(i)).mean(axis=0) + bank.offset(i)) for i in candidates)
        fitting = [int(i) for i, center in centers if fits(np.round(center).astype(int))]
        chosen += [(i, kind) for i in fitting[:small]]
    return chosen


def report_losses(losses: list[Loss]) -> None:
    """Print the sums for each kind, and the worst scan."""
    names = ("found", "of_found", "of_true", "without_mirror", "cut", "false")
    print("\n| lesions | n | true (ml) | " + " | ".join(names) + " | most of_true in one |")
    print("|---" * (len(names) + 4) + "|")
    for kind in dict.fromkeys(one.kind for one in losses):
        rows = [one for one in losses if one.kind == kind]
        sums = " | ".join(f"{sum(getattr(one, name) for one in rows):.2f}" for name in names)
        worst = max(rows, key=lambda one: one.of_true)
        print(
            f"| {kind} | {len(rows)} | {sum(one.true for one in rows):.1f} | {sums} | "
            f"{worst.of_true:.2f} of {worst.true:.1f} |"
        )


if __name__ == "__main__":
    main()

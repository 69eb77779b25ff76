"""Simulated clicks on mediocre masks of the synthetic benchmark: time and Dice gained, against MONAI Label's tool.

    python training/benchmarks/refine.py --prepared prepared --cache runs/refine -o runs/refine

(a) Time of `refine` for 20 simulated clicks, one after the other, on a volume padded to 256³ voxels of 1 mm.
(b) Lesion Dice after each of 5 simulated clicks on 30 volumes. A click is the innermost voxel of the largest error,
    and says what it should have been. Masks come from `refine_cases.py`: the model's own where their Dice is 0.4 to
    0.7, then the model's probability at another threshold, else degraded truth. Each is refined without the
    probability map and, where the mask is the model's, with it too.
(c) Peers, given the same masks and the same rule for clicks: the histogram likelihood and graph cut of MONAI Label's
    stock scribbles task (its functions and settings, Wang et al. 2018), and scikit-image's random walker. Neither
    takes a mask to correct, so the mask is given as scribbles: its inside and its outside, eroded by 4 mm, but not
    within 15 mm of a click that contradicts it. Both run in the box in which `refine` works and replace the mask there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpymaxflow
from monailabel.scribbles.utils import make_iseg_unary, make_likelihood_image_histogram
from refine_cases import MediocreCase, mediocre_cases
from scipy import ndimage
from skimage.segmentation import random_walker

from strokelabel.inference.refine import LESION, NOT_LESION, Click, Prompts, painted_labels, refine
from strokelabel.inference.refine.neighbourhood import box_about
from strokelabel.io import Image
from strokelabel.metrics import dice, largest_component
from strokelabel.reports.contact_sheet import Panel, save_contact_sheet

CLICKS, TIMED_CLICKS, TIMED_SIDE = 5, 20, 256
_REACH_MM, _ERODE_MM, _FREE_MM = 40.0, 4.0, 15.0

Step = Callable[[Image, np.ndarray, Click, np.ndarray], np.ndarray]
"""A new mask from a scan, a mask, a click, and what was painted before, (x, y, z) 0, 1 or 2."""


@dataclass
class Correction:
    """How one mask fared by one method: Dice before and after each click, and seconds per click."""

    source: str
    dice: list[float]
    seconds: list[float] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)

    @property
    def gain(self) -> float:
        """Dice gained by all clicks."""
        return self.dice[-1] - self.dice[0]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("--cache", type=Path, default=Path("runs/refine"), help="volumes and predictions")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/refine"), help="for the pictures")
    parser.add_argument("--model", default="base")
    parser.add_argument("--volumes", type=int, default=30)
    parser.add_argument(
        "--peer-volumes", type=int, default=10, help="peers are slow: the first so many volumes"
    )
    arguments = parser.parse_args()
    results: dict[str, list[Correction]] = {"refine": [], "refine with probability": []}
    compared: dict[str, list[Correction]] = {name: [] for name in PEERS}
    timed: list[float] = []
    cases = mediocre_cases(arguments.volumes, arguments.prepared, arguments.cache, arguments.model)
    for number, case in enumerate(cases):
        if not timed:
            timed = time_clicks(case)
            print(f"{TIMED_CLICKS} clicks on {TIMED_SIDE}³ voxels: {describe(timed, 's')}", flush=True)
        results["refine"].append(correct(case, our_step()))
        if case.source != "degraded":
            step = our_step(case.volume.probability)
            results["refine with probability"].append(correct(case, step))
        if number < arguments.peer_volumes:
            for name, peer in PEERS.items():
                compared[name].append(correct(case, peer))
    report(results, compared)
    panels = [panel for result in results["refine"][:12] for panel in result.panels]
    save_contact_sheet(panels, arguments.output / "before_and_after.png", columns=6)


def our_step(probability: np.ndarray | None = None) -> Step:
    """`refine` with one click, with or without a probability map."""

    def step(scan: Image, mask: np.ndarray, click: Click, painted: np.ndarray) -> np.ndarray:
        return refine(scan, mask, Prompts((click,), painted), probability).astype(bool)

    return step


def correct(case: MediocreCase, step: Step, clicks: int = CLICKS) -> Correction:
    """Click on the largest error, refine, and again."""
    truth, mask = case.volume.truth, case.mask
    scan = Image(case.volume.image, np.eye(4), source=f"case {case.volume.case.index}")
    painted = np.zeros(truth.shape, np.uint8)
    result = Correction(case.source, [dice(truth, mask)])
    first: Click | None = None
    for _ in range(clicks):
        click = next_click(truth, mask)
        if click is None:
            break
        first = first or click
        start = time.perf_counter()
        mask = step(scan, mask, click, painted)
        result.seconds.append(time.perf_counter() - start)
        painted = painted_labels(Prompts((click,), painted), truth.shape)
        result.dice.append(dice(truth, mask))
    if first is not None:
        level = first.voxel[2]
        result.panels = [
            _panel(case, name, shown, score, level)
            for name, shown, score in (
                ("before", case.mask, result.dice[0]),
                ("after", mask, result.dice[-1]),
            )
        ]
    return result


def next_click(truth: np.ndarray, mask: np.ndarray) -> Click | None:
    """The innermost voxel of the largest error; None where there is no error."""
    missed, false = largest_component(truth & ~mask), largest_component(mask & ~truth)
    error = missed if missed.sum() >= false.sum() else false
    if not error.any():
        return None
    (box,) = ndimage.find_objects(error.astype(np.uint8))
    depth = ndimage.distance_transform_edt(np.pad(error[box], 1))[1:-1, 1:-1, 1:-1]
    inner = np.unravel_index(int(depth.argmax()), depth.shape)
    i, j, k = (side.start + int(place) for side, place in zip(box, inner, strict=True))
    return Click((i, j, k), lesion=bool(truth[i, j, k]))


def time_clicks(case: MediocreCase) -> list[float]:
    """Seconds of each of 20 clicks on a volume padded with air to 256³."""
    pads = [((TIMED_SIDE - n) // 2, -((n - TIMED_SIDE) // 2)) for n in case.volume.truth.shape]
    scan = Image(np.pad(case.volume.image, pads), np.eye(4))
    truth, mask = np.pad(case.volume.truth, pads), np.pad(case.mask, pads)
    painted, seconds, step = np.zeros(truth.shape, np.uint8), [], our_step()
    for _ in range(TIMED_CLICKS):
        click = next_click(truth, mask)
        if click is None:
            break
        start = time.perf_counter()
        mask = step(scan, mask, click, painted)
        seconds.append(time.perf_counter() - start)
        painted = painted_labels(Prompts((click,), painted), truth.shape)
    return seconds


def peer_step(segment: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Step:
    """A method that segments a box from scribbles, as a step: the mask becomes scribbles around the click."""

    def step(scan: Image, mask: np.ndarray, click: Click, painted: np.ndarray) -> np.ndarray:
        box = box_about(np.array([click.voxel]), mask.shape, (1.0, 1.0, 1.0), _REACH_MM)
        inside = tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))
        given = painted_labels(Prompts((click,), painted), mask.shape)[inside]
        labels = mask[inside]
        scribbles = np.zeros(labels.shape, np.uint8)
        scribbles[ndimage.distance_transform_edt(labels) > _ERODE_MM] = LESION
        scribbles[ndimage.distance_transform_edt(~labels) > _ERODE_MM] = NOT_LESION
        for value, contrary in ((LESION, NOT_LESION), (NOT_LESION, LESION)):
            if (given == value).any():
                near = ndimage.distance_transform_edt(given != value) < _FREE_MM
                scribbles[near & (scribbles == contrary)] = 0
        np.copyto(scribbles, given, where=given > 0)
        result = mask.copy()
        if (scribbles == LESION).any() and (scribbles == NOT_LESION).any():
            result[inside] = segment(scan.data[inside], scribbles)
        return result

    return step


def graph_cut(image: np.ndarray, scribbles: np.ndarray) -> np.ndarray:
    """MONAI Label's histogram likelihood and graph cut, with its default settings."""
    low, high = np.percentile(image, [0.5, 99.5])
    scaled = np.clip((image - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)[None]
    likelihood = make_likelihood_image_histogram(scaled, scribbles[None], NOT_LESION, LESION, num_bins=64)
    likelihood = (likelihood / likelihood.sum(axis=0, keepdims=True)).astype(np.float32)
    unary = make_iseg_unary(likelihood, scribbles[None], NOT_LESION, LESION).astype(np.float32)
    return np.asarray(numpymaxflow.maxflow(scaled, unary, 1.0, 0.1)[0] > 0)


def walk(image: np.ndarray, scribbles: np.ndarray) -> np.ndarray:
    """scikit-image's random walker, with its fastest solver for boxes of this size."""
    low, high = np.percentile(image, [0.5, 99.5])
    scaled = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    return np.asarray(random_walker(scaled, scribbles, beta=130, mode="cg_j", tol=1e-2) == LESION)


PEERS: dict[str, Step] = {
    "MONAI Label histogram + graph cut": peer_step(graph_cut),
    "scikit-image random walker": peer_step(walk),
}


def report(results: dict[str, list[Correction]], compared: dict[str, list[Correction]]) -> None:
    """Print the tables."""
    print("\n| method | masks | n | Dice before | after 1 click | after 5 | gain | seconds per click |")
    print("|---|---|---|---|---|---|---|---|")
    for name, corrections in results.items():
        for source in ("all", "model", "threshold", "degraded"):
            _print_row(name, source, [c for c in corrections if source in ("all", c.source)])
    first = len(next(iter(compared.values())))
    if not first:
        return
    print(f"\nThe first {first} volumes, without probability map:\n")
    print("| method | masks | n | Dice before | after 1 click | after 5 | gain | seconds per click |")
    print("|---|---|---|---|---|---|---|---|")
    ours = results["refine"][:first]
    _print_row("refine", "all", ours)
    for name, corrections in compared.items():
        _print_row(name, "all", corrections)
        gain = np.median([c.gain for c in ours]), np.median([c.gain for c in corrections])
        seconds = (np.median([s for c in group for s in c.seconds]) for group in (corrections, ours))
        print(
            f"{name}: refine gains {gain[0]:+.3f} Dice against {gain[1]:+.3f}, "
            f"and is {np.divide(*seconds):.1f} times as fast."
        )


def _print_row(name: str, source: str, corrections: list[Correction]) -> None:
    if corrections:
        before, one, after = (
            np.median([c.dice[min(i, len(c.dice) - 1)] for c in corrections]) for i in (0, 1, -1)
        )
        gains = describe([c.gain for c in corrections], "")
        seconds = np.median([s for c in corrections for s in c.seconds])
        print(
            f"| {name} | {source} | {len(corrections)} | {before:.3f} | {one:.3f} | {after:.3f} | {gains} "
            f"| {seconds:.2f} |"
        )


def describe(values: list[float], unit: str) -> str:
    """Median and range."""
    unit = unit and f" {unit}"
    return f"{np.median(values):.3f}{unit} ({min(values):.3f} to {max(values):.3f})"


def _panel(case: MediocreCase, name: str, mask: np.ndarray, score: float, level: int) -> Panel:
    """The slice of the first click: truth green, mask red."""
    image = case.volume.image
    low, high = (float(value) for value in np.percentile(image, [0.5, 99.5]))
    outlines = {"lime": case.volume.truth[:, :, level], "red": mask[:, :, level]}
    title = f"{case.volume.case.family} {case.source} {name} {score:.2f}"
    return Panel(image[:, :, level].copy(), (low, max(high, low + 1e-6)), outlines, title)


if __name__ == "__main__":
    main()

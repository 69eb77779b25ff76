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

Volumes that are done are not repeated: delete `corrections.json` in the output folder to start again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpymaxflow
from monailabel.scribbles.utils import make_iseg_unary, make_likelihood_image_histogram
from refine_cases import MediocreCase, VolumeMaker, mediocre, nth_volume
from scipy import ndimage
from skimage.segmentation import random_walker

from strokelabel.geometry import box_around
from strokelabel.inference.refine import LESION, NOT_LESION, Click, Prompts, painted_labels, refine
from strokelabel.inference.refine.walker import box_about
from strokelabel.io import Image, atomic_write_json
from strokelabel.metrics import dice, largest_component
from strokelabel.reports.contact_sheet import Panel, best_slice, save_contact_sheet

CLICKS, TIMED_CLICKS, TIMED_SIDE = 5, 20, 256
_REACH_MM, _ERODE_MM, _FREE_MM = 40.0, 4.0, 15.0

OURS, OURS_WITH_MAP = "refine", "refine with probability"
WALL, PROCESSOR = "elapsed", "processor time"

Step = Callable[[Image, np.ndarray, Click, np.ndarray], np.ndarray]
"""A new mask from a scan, a mask, a click, and what was painted before, (x, y, z) 0, 1 or 2."""


@dataclass(frozen=True)
class Correction:
    """Result of one mask by one method: Dice before and after each click, and seconds of each."""

    number: int
    method: str
    source: str
    dice: list[float]
    seconds: list[float]

    @property
    def gain(self) -> float:
        """Dice gained by all clicks."""
        return self.dice[-1] - self.dice[0]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("--cache", type=Path, default=Path("runs/refine"), help="volumes and predictions")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("runs/refine"), help="for results and pictures"
    )
    parser.add_argument("--model", default="base")
    parser.add_argument("--volumes", type=int, default=30)
    parser.add_argument(
        "--peer-volumes", type=int, default=5, help="peers are slow: the first so many volumes"
    )
    parser.add_argument("--most", type=int, default=1000, help="volumes to do before the report")
    arguments = parser.parse_args()
    done = arguments.output / "corrections.json"
    results: list[Correction] = (
        [Correction(**r) for r in json.loads(done.read_text())] if done.exists() else []
    )
    maker = VolumeMaker(arguments.prepared, arguments.cache, arguments.model)
    left = [number for number in range(arguments.volumes) if number not in {r.number for r in results}]
    for number in left[: arguments.most]:
        case = mediocre(nth_volume(maker, number))
        if number == 0:
            results += time_clicks(case)
        results += corrections(case, number, peers=number < arguments.peer_volumes, folder=arguments.output)
        atomic_write_json(done, [asdict(result) for result in results])
    report(results)


def corrections(case: MediocreCase, number: int, peers: bool, folder: Path) -> list[Correction]:
    """Correct one volume by all methods, and draw ours before and after."""
    ours, mask = correct(case, our_step(), OURS, number)
    found = [ours]
    save_contact_sheet(panels(case, mask, ours), folder / f"volume-{number:02d}.png", columns=2)
    if case.source != "degraded":
        found.append(correct(case, our_step(case.volume.probability), OURS_WITH_MAP, number)[0])
    if peers:
        found += [correct(case, step, name, number)[0] for name, step in PEERS.items()]
    return found


def our_step(probability: np.ndarray | None = None) -> Step:
    """Return a step of `refine` with one click, with or without a probability map."""

    def step(scan: Image, mask: np.ndarray, click: Click, painted: np.ndarray) -> np.ndarray:
        return refine(scan, mask, Prompts((click,), painted), probability).astype(bool)

    return step


def correct(case: MediocreCase, step: Step, method: str, number: int) -> tuple[Correction, np.ndarray]:
    """Click on the largest error, correct, and repeat; return the result and the last mask."""
    scan = Image(case.volume.image, np.eye(4), source=f"case {case.volume.case.index}")
    scores, seconds, mask = click_through(scan, case.volume.truth, case.mask, step, CLICKS)
    source = f"{case.volume.case.family} {case.source}"
    return Correction(number, method, source, scores, [wall for wall, _ in seconds]), mask


def click_through(
    scan: Image, truth: np.ndarray, mask: np.ndarray, step: Step, clicks: int
) -> tuple[list[float], list[tuple[float, float]], np.ndarray]:
    """Return the Dice before and after each click, (wall, processor) seconds of each, and the last mask."""
    painted, scores, seconds = np.zeros(truth.shape, np.uint8), [dice(truth, mask)], []
    for _ in range(clicks):
        click = next_click(truth, mask)
        if click is None:
            break
        start = time.perf_counter(), time.process_time()
        mask = step(scan, mask, click, painted)
        seconds.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        painted = painted_labels(Prompts((click,), painted), scan.grid.shape)
        scores.append(dice(truth, mask))
    return scores, seconds, mask


def next_click(truth: np.ndarray, mask: np.ndarray) -> Click | None:
    """Return the innermost voxel of the largest error; None where there is no error."""
    if np.array_equal(truth, mask):
        return None
    box = box_around(truth ^ mask)
    lesion, found = box.crop(truth), box.crop(mask)
    missed, false = largest_component(lesion & ~found), largest_component(found & ~lesion)
    error = np.pad(missed if missed.sum() >= false.sum() else false, 1)
    inner = np.unravel_index(int(ndimage.distance_transform_edt(error).argmax()), error.shape)
    i, j, k = (first + int(place) - 1 for first, place in zip(box.start, inner, strict=True))
    return Click((i, j, k), lesion=bool(truth[i, j, k]))


def time_clicks(case: MediocreCase) -> list[Correction]:
    """Measure wall and processor seconds of 20 clicks on a volume padded with air to 256³."""
    pads = [((TIMED_SIDE - n) // 2, -((n - TIMED_SIDE) // 2)) for n in case.volume.truth.shape]
    scan = Image(np.pad(case.volume.image, pads), np.eye(4))
    truth, mask = np.pad(case.volume.truth, pads), np.pad(case.mask, pads)
    scores, seconds, _ = click_through(scan, truth, mask, our_step(), TIMED_CLICKS)
    return [
        Correction(-1, name, "timed", scores, list(values))
        for name, values in zip((WALL, PROCESSOR), zip(*seconds, strict=True), strict=True)
    ]


def peer_step(segment: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Step:
    """Turn a method that segments a box from scribbles into a step: the mask becomes scribbles around the click."""

    def step(scan: Image, mask: np.ndarray, click: Click, painted: np.ndarray) -> np.ndarray:
        box = box_about(np.array([click.voxel]), scan.grid.shape, (1.0, 1.0, 1.0), _REACH_MM)
        inside = tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))
        given = painted_labels(Prompts((click,), painted), scan.grid.shape)[inside]
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
    """Segment by MONAI Label's histogram likelihood and graph cut, with its default settings."""
    low, high = np.percentile(image, [0.5, 99.5])
    scaled = np.clip((image - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)[None]
    likelihood = make_likelihood_image_histogram(scaled, scribbles[None], NOT_LESION, LESION, num_bins=64)
    likelihood = (likelihood / likelihood.sum(axis=0, keepdims=True)).astype(np.float32)
    unary = make_iseg_unary(likelihood, scribbles[None], NOT_LESION, LESION).astype(np.float32)
    return np.asarray(numpymaxflow.maxflow(scaled, unary, 1.0, 0.1)[0] > 0)


def walk(image: np.ndarray, scribbles: np.ndarray) -> np.ndarray:
    """Segment by scikit-image's random walker, with its fastest solver for boxes of this size."""
    low, high = np.percentile(image, [0.5, 99.5])
    scaled = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    return np.asarray(random_walker(scaled, scribbles, beta=130, mode="cg_j", tol=1e-2) == LESION)


PEERS: dict[str, Step] = {
    "MONAI Label histogram + graph cut": peer_step(graph_cut),
    "scikit-image random walker": peer_step(walk),
}


def report(results: list[Correction]) -> None:
    """Print the tables."""
    for timed in (r for r in results if r.number < 0):
        print(
            f"{len(timed.seconds)} clicks on {TIMED_SIDE}³ voxels, {timed.method}: {describe(timed.seconds)} s"
        )
    print("\n| method | masks | n | Dice before | after 1 click | after 5 | gain | seconds per click |")
    print("|---|---|---|---|---|---|---|---|")
    for method in (OURS, OURS_WITH_MAP):
        for source in ("", "model", "threshold", "degraded"):
            print_row(source or "all", [r for r in results if r.method == method and source in r.source])
    shared = {r.number for r in results if r.method in PEERS}
    print(f"\n{len(shared)} volumes, without probability map:\n")
    print("| method | masks | n | Dice before | after 1 click | after 5 | gain | seconds per click |")
    print("|---|---|---|---|---|---|---|---|")
    groups = {m: [r for r in results if r.method == m and r.number in shared] for m in (OURS, *PEERS)}
    for group in groups.values():
        print_row("all", group)
    for name in PEERS if shared else ():
        gains = [np.median([r.gain for r in groups[m]]) for m in (OURS, name)]
        seconds = [np.median([s for r in groups[m] for s in r.seconds]) for m in (OURS, name)]
        print(
            f"Against {name}: {gains[0] / gains[1]:.2f} times the gain in {seconds[0] / seconds[1]:.2f} of the time."
        )


def print_row(masks: str, group: list[Correction]) -> None:
    """Print one row of a table."""
    if group:
        scores = [np.median([r.dice[min(i, len(r.dice) - 1)] for r in group]) for i in (0, 1, CLICKS)]
        columns = " | ".join(f"{score:.3f}" for score in scores)
        seconds = np.median([s for r in group for s in r.seconds])
        gains = describe([r.gain for r in group])
        print(f"| {group[0].method} | {masks} | {len(group)} | {columns} | {gains} | {seconds:.2f} |")


def describe(values: list[float]) -> str:
    """Return the median and range."""
    return f"{np.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def panels(case: MediocreCase, mask: np.ndarray, result: Correction) -> list[Panel]:
    """Return the slice with most error, before and after: truth green, mask red."""
    image, truth = case.volume.image, case.volume.truth
    level = best_slice(truth ^ case.mask, truth.shape[2])
    low, high = (float(value) for value in np.percentile(image[:, :, level], [0.5, 99.5]))
    return [
        Panel(
            image[:, :, level].copy(),
            (low, max(high, low + 1e-6)),
            {"lime": truth[:, :, level], "red": shown[:, :, level]},
            f"{result.source} {score:.2f}",
        )
        for shown, score in ((case.mask, result.dice[0]), (mask, result.dice[-1]))
    ]


if __name__ == "__main__":
    main()

"""Score weights for parcellation on simulated scans of brains that they were not trained on, and on real scans.

    python training/benchmarks/parcellation.py model.safetensors --prepared prepared -o runs/parcellation --real scans

Every brain is simulated in T1w, T2w, FLAIR and random contrast, with axial slices of each thickness, and goes through
the predictor that `strokelabel predict` uses. `--real` names a folder of scans `<name>_T1w.nii.gz` with FreeSurfer's
labels `<name>_dseg.nii.gz`; voxels of labels that belong to no structure, such as the corpus callosum's, do not count.

Scores go to `scores.csv` in the output folder, a row per scan and structure, with a picture beside them; printed are
the tables. What is finished is not repeated; other weights or settings need another folder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from documents import put_into_document
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from strokelabel.fit.data.recipe_streams import make_synthesizer
from strokelabel.fit.recipe import Recipe
from strokelabel.geometry import CanonicalGrid
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.parcellate import Parcellator
from strokelabel.io import Image, read_image
from strokelabel.io.atomic import atomic_path, atomic_write_json, atomic_write_text
from strokelabel.metrics import dice
from strokelabel.metrics.overlap import hd95_mm
from strokelabel.reports.validation import as_scan
from strokelabel.structures import CSF_ID, Structure
from strokelabel.synthesis.benchmark import ValidationCase, make_case, validation_config
from strokelabel.synthesis.config import ContrastFamily
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.prepared.dataset import PreparedData

FIELD_MM = np.array([176, 208, 176])
CONTRASTS: dict[ContrastFamily, str] = {"t1": "T1w", "t2": "T2w", "flair": "FLAIR", "random": "random"}
REAL = "real T1w"
_SEED = 41_000
"""Seed of the first simulated scan; the same for all thicknesses of slices."""

RIGHT_SHADE = 0.55
"""Colours of right-hand structures are darkened by this factor, so that a picture shows the sides."""


@dataclass(frozen=True, eq=False)
class Case:
    """A scan with its true structures.

    Attributes:
        name: of the scan.
        contrast: for tables.
        slice_mm: thickness of its slices.
        make: returns the scan and FreeSurfer ids (i, j, k) on its grid; -1 where nothing is known.
    """

    name: str
    contrast: str
    slice_mm: float
    make: Callable[[], tuple[Image, np.ndarray]]


def main() -> None:
    """Score what is missing, print, draw."""
    arguments = parse_arguments()
    parcellator = Parcellator.from_model(
        arguments.weights, arguments.device, PredictionOptions(tta=arguments.tta)
    )
    check_settings(arguments.output / "settings.json", parcellator, arguments)
    cases = [*simulated_cases(parcellator, arguments), *real_cases(parcellator, arguments.real)]
    path = arguments.output / "scores.csv"
    done = pd.read_csv(path) if path.exists() else pd.DataFrame({"scan": []})
    for case in cases:
        if case.name not in set(done["scan"]):
            done = pd.concat([done, pd.DataFrame(score(parcellator, case))], ignore_index=True)
            atomic_write_text(path, done.to_csv(index=False))
            print(f"{case.name}: mean Dice {done[done['scan'] == case.name]['dice'].mean():.3f}", flush=True)
    text = described(done[done["scan"].isin([case.name for case in cases])])
    print(text)
    drawn = [case for case in cases if case.slice_mm == min(arguments.slices) or case.contrast == REAL]
    one_of_each = {case.name if case.contrast == REAL else case.contrast: case for case in drawn}
    draw(parcellator, [*one_of_each.values()], arguments.output / "example.png")
    if arguments.document:
        put_into_document(text, arguments.document)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("weights", help="name of a model, or a weights file")
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/parcellation"))
    parser.add_argument(
        "--brains", nargs="+", help="brains that were not trained on; default: the recipe's own"
    )
    parser.add_argument("--slices", nargs="+", type=float, default=[1.0, 3.0, 5.0, 7.0], help="mm, along z")
    parser.add_argument("--spacing-mm", type=float, default=1.0, help="voxel size of the simulated scans")
    parser.add_argument("--real", type=Path, help="folder of real scans with FreeSurfer's labels")
    parser.add_argument("--tta", action="store_true", help="average over flips")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--document", type=Path, help="page whose results are replaced")
    return parser.parse_args()


def check_settings(path: Path, parcellator: Parcellator, arguments: argparse.Namespace) -> None:
    """Refuse to mix results of different settings in one folder."""
    settings = {"weights": parcellator.spec.sha256, "tta": arguments.tta, "spacing_mm": arguments.spacing_mm}
    if parcellator.denoiser is not None:
        settings["denoiser"] = parcellator.denoiser.spec.sha256
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != settings:
        raise SystemExit(f"{path}: expected the weights and settings of this folder; choose another with -o")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_json(path, settings)


def simulated_cases(parcellator: Parcellator, arguments: argparse.Namespace) -> Iterator[Case]:
    """Yield the scans of unseen brains: each brain in each contrast, with slices of each thickness."""
    recipe = Recipe.model_validate(parcellator.spec.recipe)
    brains = arguments.brains or (recipe.brains.validation if recipe.brains else ())
    ids = np.array([structure.id for structure in parcellator.structures])
    for index, brain in enumerate(brains):
        heads = unseen_synthesizer(parcellator, arguments.prepared, (brain,), arguments.spacing_mm)
        for number, (family, contrast) in enumerate(CONTRASTS.items()):
            for slice_mm in arguments.slices:
                thick = slice_mm if slice_mm > arguments.spacing_mm else None
                seed = _SEED + len(CONTRASTS) * index + number
                case = ValidationCase(0, family, thick, seed, lesion_free=True)
                name = f"{brain}_{contrast}_{slice_mm:g}mm"

                def make(
                    heads: Synthesizer = heads, case: ValidationCase = case, name: str = name
                ) -> tuple[Image, np.ndarray]:
                    batch = make_case(heads, case)
                    return as_scan(batch, arguments.spacing_mm, name), ids[batch.target[0].numpy()]

                yield Case(name, contrast, slice_mm, make)


def unseen_synthesizer(
    parcellator: Parcellator, prepared: Path, brains: Sequence[str], spacing_mm: float
) -> Synthesizer:
    """Return the generator of scans of held-out brains, with the settings of the synthetic benchmark."""
    recipe = Recipe.model_validate(parcellator.spec.recipe)
    assert recipe.brains is not None
    held_out = recipe.brains.model_copy(update={"validation": tuple(brains)})
    x, y, z = (int(side) for side in np.round(FIELD_MM / spacing_mm))
    config = validation_config((x, y, z), spacing_mm)
    recipe = recipe.model_copy(update={"brains": held_out})
    return make_synthesizer(PreparedData.load(prepared), recipe, "validation", config, "cpu")


def real_cases(parcellator: Parcellator, folder: Path | None) -> Iterator[Case]:
    """Yield the real scans of a folder; none without one."""
    for path in sorted(folder.glob("*_T1w.nii.gz")) if folder else ():

        def make(path: Path = path) -> tuple[Image, np.ndarray]:
            labels = read_image(path.with_name(path.name.replace("_T1w", "_dseg")))
            return read_image(path), structure_ids(labels.data, parcellator.structures)

        yield Case(path.name.removesuffix("_T1w.nii.gz"), REAL, 1.0, make)


def structure_ids(labels: np.ndarray, structures: Sequence[Structure]) -> np.ndarray:
    """Return ids of structures for labels of FreeSurfer; -1 for labels that belong to none, but inside the head.

    FreeSurfer's fluid (24) is that of some cavities alone, not all around the brain, and is left out, too.
    """
    found = np.full(labels.shape, -1)
    found[labels == 0] = 0
    for structure in structures[1:]:
        if structure.id != CSF_ID:
            found[np.isin(labels, list(structure.sources))] = structure.id
    return found


def score(parcellator: Parcellator, case: Case) -> list[dict[str, object]]:
    """Find the structures of a scan; return a row for each that is there."""
    scan, truth = case.make()
    found = np.where(truth < 0, -1, parcellator.parcellate(scan).labels)
    i, j, k = scan.grid.spacing
    wrong = wrong_side(parcellator.structures, truth, found)
    rows: list[dict[str, object]] = []
    for one in parcellator.structures[1:]:
        true, mine = truth == one.id, found == one.id
        if true.any():
            distance = hd95_mm(true, mine, (i, j, k)) if mine.any() else np.nan
            ml = (np.array([true.sum(), mine.sum()]) * scan.grid.voxel_volume_ml).tolist()
            row = {
                "scan": case.name,
                "contrast": case.contrast,
                "slice_mm": case.slice_mm,
                "structure": one.name,
            }
            numbers = {"dice": dice(true, mine), "sd95_mm": distance, "true_ml": ml[0], "found_ml": ml[1]}
            rows.append({**row, **numbers, "wrong_side": wrong})
    return rows


def wrong_side(structures: Sequence[Structure], truth: np.ndarray, found: np.ndarray) -> float:
    """Return the share of voxels on the wrong side, of all that have a side in truth and prediction."""
    sides = np.zeros(101, dtype=int)  # the last for -1
    for structure in structures:
        sides[structure.id] = {"left": -1, "midline": 0, "right": 1}[structure.side]
    products = sides[truth] * sides[found]
    return float((products < 0).sum() / max(1, (products != 0).sum()))


def described(scores: pd.DataFrame) -> str:
    """Return the tables as Markdown: by contrast and slices, then by structure."""
    scores = scores.assign(volume_error=(scores["found_ml"] / scores["true_ml"] - 1).abs() * 100)
    simulated, real = scores[scores["contrast"] != REAL], scores[scores["contrast"] == REAL]
    parts = [by_contrast(simulated)]
    thin = simulated[
        (simulated["contrast"] == "T1w") & (simulated["slice_mm"] == simulated["slice_mm"].min())
    ]
    columns = {"T1w, thinnest slices": thin, "all simulated scans": simulated}
    columns |= {f"{name}, real T1w": rows for name, rows in real.groupby("scan")}
    parts.append(by_structure({name: rows for name, rows in columns.items() if len(rows)}))
    return "\n\n".join(parts)


def median(millimetres: pd.Series) -> str:
    """Return the median of distances; a dash where no structure was found at all."""
    return "-" if millimetres.isna().all() else f"{millimetres.median():.1f}"


def by_contrast(scores: pd.DataFrame) -> str:
    """Return mean Dice, median distance, median volume error and wrong sides, by contrast and slices."""
    lines = [
        "| contrast | slices (mm) | n | mean Dice | SD95 (mm) | volume error (%) | wrong side (%) |",
        "|---|---|---|---|---|---|---|",
    ]
    for (contrast, slice_mm), rows in scores.groupby(["contrast", "slice_mm"], sort=False):
        sides = 100 * rows.groupby("scan")["wrong_side"].first().mean()
        numbers = (
            f"{rows['dice'].mean():.3f} | {median(rows['sd95_mm'])} | {rows['volume_error'].median():.0f}"
        )
        lines.append(f"| {contrast} | {slice_mm:g} | {rows['scan'].nunique()} | {numbers} | {sides:.2f} |")
    return "\n".join(lines)


def by_structure(columns: dict[str, pd.DataFrame]) -> str:
    """Return mean Dice and median SD95 of every structure, both sides together, in each column's scans."""
    merged = {
        name: rows.assign(structure=rows["structure"].str.replace("^(left|right) ", "", regex=True))
        for name, rows in columns.items()
    }
    names = list(dict.fromkeys(name for rows in merged.values() for name in rows["structure"]))
    heads = [f"{name} (n = {rows['scan'].nunique()})" for name, rows in merged.items()]
    lines = [f"| Dice, SD95 (mm) | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name in (*names, "mean over structures"):
        chosen = [rows if name not in names else rows[rows["structure"] == name] for rows in merged.values()]
        cells = [
            f"{rows['dice'].mean():.2f}, {median(rows['sd95_mm'])}" if len(rows) else "" for rows in chosen
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    sides = [f"{100 * rows.groupby('scan')['wrong_side'].first().mean():.2f} %" for rows in merged.values()]
    return "\n".join([*lines, f"| wrong side | {' | '.join(sides)} |"])


def draw(parcellator: Parcellator, cases: Sequence[Case], path: Path) -> None:
    """Draw coronal slices in rows: scan, label map, prediction; front view, the patient's left on the right."""
    colors = np.zeros((101, 3))
    for structure in parcellator.structures[1:]:
        rgb = np.array([int(structure.color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        colors[structure.id] = rgb * (RIGHT_SHADE if structure.side == "right" else 1)
    figure = Figure(figsize=(6.6, 2.25 * len(cases)), facecolor="black", layout="tight")
    FigureCanvasAgg(figure)
    for row, case in enumerate(cases):
        scan, truth = case.make()
        grid = CanonicalGrid.for_image(scan.grid.shape, scan.affine)
        labels = [grid.forward_labels(values) for values in (truth, parcellator.parcellate(scan).labels)]
        level = int(
            np.isin(labels[0], (17, 53)).sum(axis=(0, 2)).argmax()
        )  # where the hippocampus is largest
        pictures = [grid.forward(scan.data)[:, level], *(colors[values[:, level]] for values in labels)]
        for column, (picture, title) in enumerate(zip(pictures, (case.name, "truth", "found"), strict=True)):
            axes = figure.add_subplot(len(cases), 3, 3 * row + column + 1)
            axes.imshow(np.swapaxes(picture[::-1], 0, 1), cmap="gray", origin="lower")
            axes.set_title(title, color="white", fontsize=8)
            axes.axis("off")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


if __name__ == "__main__":
    main()

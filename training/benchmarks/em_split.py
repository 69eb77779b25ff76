"""Parcellation of whole heads from label maps of the brain alone, with and without intensity clusters (EM).

    python training/benchmarks/em_split.py --prepared prepared -o runs/em-split

Label maps of whole heads give a simulated T1-weighted scan each, and lose all labels outside the brain: what there is
where brains were delineated on scans. `strokelabel prepare --em` splits these labels, and the background, into clusters
of intensity; the other arm has the labels as they are, and one background. Both arms train the same network on images
of random contrast for the same number of steps, once per seed, and are scored on whole heads of other brains, made of
their whole label maps in the six contrasts of the synthetic benchmark.

Printed are the mean Dice over structures and volumes with 95 % t intervals over volumes, and the paired differences, by
seed and together. Whatever is finished is not repeated, so the command can be stopped and given again; other settings
need another folder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from ablation import interval_text, paired_difference, per_volume

from strokelabel.fit.data.parts import select
from strokelabel.fit.loop.checkpoint import load_newest_checkpoint
from strokelabel.fit.recipe import Recipe, load_recipe
from strokelabel.fit.train import train_recipe, with_data
from strokelabel.hashing import sha256_of_file
from strokelabel.io.atomic import atomic_path, atomic_write_json, atomic_write_text
from strokelabel.metrics import dice
from strokelabel.networks.weights import make_network
from strokelabel.structures import EXTRACEREBRAL_IDS, Structure, parcellation_structures, structure_rows
from strokelabel.synthesis.anatomy.head import load_heads
from strokelabel.synthesis.anatomy.parcellation import ParcellationTarget
from strokelabel.synthesis.benchmark import (
    VALIDATION_FAMILIES,
    lesion_free_cases,
    make_case,
    validation_config,
)
from strokelabel.synthesis.config import DeformationConfig, LesionConfig, SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.prepared.cluster_preparation import ClusterOptions, prepare_clusters
from strokelabel.synthesis.prepared.dataset import PreparedData

FIELD_MM = (192.0, 240.0, 224.0)
"""Extent of the simulated scans, along x, y, z, and of the volumes that networks see, but for rounding."""

REFERENCE = "labels as they are"
ARMS = {
    REFERENCE: ClusterOptions(foreground=1, background=(1, 1)),
    "intensity clusters": ClusterOptions(foreground=2, background=(3, 10), variants=3),
}

TRAINING = ("brain-0*", "brain-10", "brain-11", "brain-12", "brain-13")
VALIDATION = ("brain-14",)
"""Brains that choose nothing here, but that a recipe needs."""
TEST = ("brain-15", "brain-16", "brain-17")

STRUCTURES: tuple[Structure, ...] = tuple(
    one for one in parcellation_structures() if one.id not in EXTRACEREBRAL_IDS
)
"""SynthSeg's, without the fluid around the brain, which was not delineated."""


def main() -> None:
    """Make scans, train what is missing, score it, and print the table."""
    arguments = parse_arguments()
    data, output = PreparedData.load(arguments.prepared), arguments.output
    check_settings(output / "settings.json", data, arguments)
    simulate_scans(data, output / "scans", arguments.scan_mm)
    rows = structure_rows(STRUCTURES)
    lines = ["\t".join(rows[0]), *("\t".join(str(value) for value in row.values()) for row in rows)]
    atomic_write_text(output / "structures.tsv", "\n".join(lines) + "\n")
    arms = {
        name: prepare_clusters(
            output / "scans", output / slug(name), structures=output / "structures.tsv", options=options
        )
        for name, options in ARMS.items()
    }
    tables = []
    for seed in range(1, arguments.seeds + 1):  # the seeds in turn, so that a run cut short has both arms
        for arm, clusters in arms.items():
            folder = output / f"{slug(arm)}-seed-{seed}"
            scores = folder / f"scores-{arguments.per_family}.csv"
            recipe = make_recipe(arm, seed, arguments)
            if not scores.exists() and not arguments.table:
                train_recipe(recipe, clusters, folder, device=arguments.device)
                found = score(with_data(recipe, clusters.structures), data, folder, arguments)
                atomic_write_text(scores, found.assign(variant=arm, seed=seed).to_csv(index=False))
            if scores.exists():
                tables.append(pd.read_csv(scores))
    if not tables:
        raise SystemExit("no run is finished yet")
    text = markdown(pd.concat(tables), arguments.steps)
    atomic_write_text(output / "table.md", text)
    print(text)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prepared", type=Path, default=Path("prepared"), help="whole heads")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/em-split"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--spacing-mm", type=float, default=3.0, help="voxel size of the network")
    parser.add_argument("--scan-mm", type=float, default=1.0, help="voxel size of the scans that are split")
    parser.add_argument("--channels", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--per-family", type=int, default=6, help="test volumes of each contrast")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", action="store_true", help="no training: the table of the runs there are")
    return parser.parse_args()


def check_settings(path: Path, data: PreparedData, arguments: argparse.Namespace) -> None:
    """Note what a folder's runs have in common, and refuse others."""
    settings = {name: getattr(arguments, name) for name in ("steps", "spacing_mm", "scan_mm", "channels")}
    settings["digest"] = data.digest
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != settings:
        raise SystemExit(f"{path}: expected the settings of the runs in this folder; choose another with -o")
    atomic_write_json(path, settings)


def slug(arm: str) -> str:
    """Return an arm's name as that of a folder."""
    return arm.replace(" ", "-")


def make_recipe(arm: str, seed: int, arguments: argparse.Namespace) -> Recipe:
    """Return the recipe of one run: SynthSeg's ranges, whole heads, the structures of the data."""
    content: dict[str, Any] = load_recipe("synthseg").model_dump(mode="json")
    strides = [2] * (len(arguments.channels) - 1)
    content |= {
        "name": slug(arm),
        "seed": seed,
        "structure_table": "data",
        "brains": {
            "train": [f"{name}*" for name in TRAINING],
            "validation": [f"{name}*" for name in VALIDATION],
        },
    }
    content["network"] |= {"channels": arguments.channels, "strides": strides}
    content["synthesis"] |= {
        "shape": network_shape(arguments.spacing_mm, 2 ** len(strides)),
        "spacing_mm": arguments.spacing_mm,
        "skull_strip": {"probability": 0.0},
    }
    content["synthesis"]["contrast"]["joined_labels"] = []
    content["training"] = {
        "steps": arguments.steps,
        "batch_size": 1,
        "l2_warmup_steps": arguments.steps // 20,
        "validate_every": 0,
        "checkpoint_every": max(1, min(250, arguments.steps)),
        "precision": "32-true",
    }
    return Recipe.model_validate(content)


def network_shape(spacing_mm: float, multiple: int) -> tuple[int, int, int]:
    """Return the voxels of a network's volumes, multiples of its total stride."""
    x, y, z = (max(2, round(side / spacing_mm / multiple)) * multiple for side in FIELD_MM)
    return x, y, z


def brains_of(data: PreparedData, patterns: Sequence[str]) -> list[str]:
    """Return the names of the brains of one part."""
    return select(list(data.brain_names), tuple(patterns), "brains")


def make_synthesizer(
    data: PreparedData, names: list[str], config: SynthesisConfig, device: str
) -> Synthesizer:
    """Return the generator of whole heads, whose target is SynthSeg's 33 classes."""
    heads = load_heads(data, names, config.spacing_mm)
    target = ParcellationTarget(data.table, heads)
    return Synthesizer(heads, data.lesions, data.table, config, device, target)


def simulate_scans(data: PreparedData, folder: Path, spacing_mm: float) -> None:
    """Write a T1-weighted scan of each head with its label map, from which all around the brain is missing."""
    x, y, z = (round(side / spacing_mm) for side in FIELD_MM)
    config = validation_config((x, y, z), spacing_mm)
    still = DeformationConfig(
        rotation_degrees=(0, 0),
        shear=(0, 0),
        zoom=(1, 1),
        translation_mm=(0, 0),
        elastic_fraction=(0, 0),
        flip_probability=(0, 0, 0),
    )
    config = config.model_copy(
        update={
            "deformation": still,
            "contrast": config.contrast.model_copy(update={"families": {"t1": 1.0}}),
            "lesion": LesionConfig(count_weights={0: 1.0}),
            "skull_strip": config.skull_strip.model_copy(update={"probability": 0.0}),
        }
    )
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    ids = np.array(
        [0 if one.id in EXTRACEREBRAL_IDS else one.id for one in parcellation_structures()], np.int16
    )
    for number, name in enumerate(brains_of(data, (*TRAINING, *VALIDATION))):
        image, labels = (folder / f"{name}{ending}.nii.gz" for ending in ("", "_dseg"))
        if labels.exists():  # written last
            continue
        batch = make_synthesizer(data, [name], config, "cpu").generate([number])
        for path, volume in ((image, batch.image[0, 0].numpy()), (labels, ids[batch.target[0].numpy()])):
            with atomic_path(path) as temporary:
                nib.Nifti1Image(volume, affine).to_filename(temporary)
        print(f"{name}: scan simulated, sha256 {sha256_of_file(image)[:12]}")


@torch.no_grad()
def score(recipe: Recipe, data: PreparedData, folder: Path, arguments: argparse.Namespace) -> pd.DataFrame:
    """Return one row per whole head: mean Dice over the structures it shows, and ml of structures outside of them."""
    checkpoint = load_newest_checkpoint(folder)
    assert checkpoint is not None
    network = make_network(recipe.network)
    network.load_state_dict(checkpoint.weights)
    network.eval().to(arguments.device)
    config = validation_config(recipe.synthesis.shape, arguments.spacing_mm)
    config = config.model_copy(
        update={"skull_strip": config.skull_strip.model_copy(update={"probability": 0.0})}
    )
    heads = make_synthesizer(data, brains_of(data, TEST), config, arguments.device)
    whole = np.array([0 if one.id in EXTRACEREBRAL_IDS else one.id for one in parcellation_structures()])
    own = np.array([one.id for one in recipe.structures])
    rows = []
    for case in lesion_free_cases(arguments.per_family * len(VALIDATION_FAMILIES)):
        batch = make_case(heads, case)
        truth = whole[batch.target[0].cpu().numpy()]
        found = own[network(batch.image).argmax(dim=1)[0].cpu().numpy()]
        present = [one.id for one in STRUCTURES[1:] if (truth == one.id).any()]
        overlap = np.mean([dice(truth == number, found == number) for number in present])
        outside_ml = ((found > 0) & (truth == 0)).sum() * arguments.spacing_mm**3 / 1000
        rows.append((case.family, case.index, overlap, outside_ml))
    return pd.DataFrame(rows, columns=["family", "case", "dice", "outside_ml"])


def markdown(table: pd.DataFrame, steps: int) -> str:
    """Return the tables of Dice and of paired differences as Markdown."""
    families = [*VALIDATION_FAMILIES]
    lines = [
        f"{steps} steps, {table['case'].nunique()} whole heads of other brains\n",
        f"| training labels | seeds | {' | '.join(families)} | all | outside the brain (ml) |",
        "|" + "---|" * (len(families) + 4),
    ]
    for arm in table["variant"].unique():
        own = table[table["variant"] == arm]
        cells = [interval_text(per_volume(own, [family])) for family in [*families]]
        cells += [interval_text(per_volume(own, families)), f"{own['outside_ml'].mean():.0f}"]
        lines.append(f"| {arm} | {own['seed'].nunique()} | {' | '.join(cells)} |")
    others = [arm for arm in table["variant"].unique() if arm != REFERENCE]
    lines += ["", f"| Dice less that of '{REFERENCE}' | seed | difference |", "|---|---|---|"]
    for arm in others:
        for seed in [*sorted(table["seed"].unique()), "all"]:
            rows = table if seed == "all" else table[table["seed"] == seed]
            if {arm, REFERENCE} <= set(rows["variant"]):
                difference = interval_text(paired_difference(rows, arm, REFERENCE), signed=True)
                lines.append(f"| {arm} | {seed} | {difference} |")
    lines.append("\nMean [95 % t interval] over volumes, of the mean Dice over the structures of a volume.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

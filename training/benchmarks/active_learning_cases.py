"""Scans of `active_learning.py`: mostly of known contrasts, with a few of contrasts that the model has not seen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from strokelabel.fit.data.recipe_streams import split_lesions
from strokelabel.fit.fine_tuning.synthetic import SyntheticPart
from strokelabel.io.atomic import atomic_write_json
from strokelabel.io.images import write_nifti
from strokelabel.labels import TissueClass
from strokelabel.reports.validation import as_scan
from strokelabel.synthesis.anatomy.head import load_heads
from strokelabel.synthesis.benchmark import ValidationCase, case_parameters, validation_config
from strokelabel.synthesis.config import ContrastFamily
from strokelabel.synthesis.contrast.gaussian_mixture import ContrastParameters
from strokelabel.synthesis.generator import SampleParameters, Synthesizer
from strokelabel.synthesis.sampling import Sampler

KNOWN: tuple[str, ...] = ("t1", "t2", "flair", "dwi")
"""Contrasts of the model's training."""

NEW: tuple[str, ...] = ("ct-like", "low-field")
"""Not in training: bright bone around a brain of hardly any contrast with a darker lesion; a blurred, noisy FLAIR of
thick slices."""

_CT_MEANS = {
    "gray": 0.42, "white": 0.36, "ventricle": 0.2, "csf": 0.2, "vessel": 0.45, "bone": 1.0, "marrow": 0.8,
    "soft": 0.4, "skin": 0.35, "eye": 0.3, "background": 0.0,
}  # fmt: skip
_CT_LESION = (0.24, 0.31)


@dataclass(frozen=True)
class SimulatedScan:
    """A scan whose lesion is known.

    Attributes:
        name: unique within a seed; every scan is another subject.
        kind: one of `KNOWN` or `NEW`.
        image: NIfTI file.
        truth: NIfTI file of the lesion mask, what the simulated annotator submits.
    """

    name: str
    kind: str
    image: Path
    truth: Path

    @property
    def new(self) -> bool:
        """True if the model has not seen such a contrast."""
        return self.kind in NEW


def make_scans(
    synthetic: SyntheticPart, part: str, kinds: Sequence[str], first_seed: int, folder: Path
) -> list[SimulatedScan]:
    """Write one scan for each kind, unless they are there already.

    Args:
        synthetic: heads and lesions, and the generator's size.
        part: "train" for a pool, "validation" for heads and lesions that nothing is trained on.
        kinds: contrast of each scan.
        first_seed: of the scans, which count up from it.
        folder: receives `scans.json` and the files.
    """
    index = folder / "scans.json"
    if not index.is_file():
        synthesizer = _synthesizer(synthetic, part)
        rows = [
            _write(synthesizer, kind, number, first_seed + number, part, folder)
            for number, kind in enumerate(kinds)
        ]
        atomic_write_json(index, rows)
    rows = json.loads(index.read_text(encoding="utf-8"))
    return [
        SimulatedScan(row["name"], row["kind"], folder / row["image"], folder / row["truth"]) for row in rows
    ]


def _synthesizer(synthetic: SyntheticPart, part: str) -> Synthesizer:
    config = validation_config(synthetic.synthesis.shape, synthetic.synthesis.spacing_mm)
    bank = split_lesions(synthetic.data, part, 3.0)
    heads = load_heads(synthetic.data, synthetic.brains[part], config.spacing_mm)
    return Synthesizer(heads, bank, synthetic.data.table, config, synthetic.device)


def _write(
    synthesizer: Synthesizer, kind: str, number: int, seed: int, part: str, folder: Path
) -> dict[str, Any]:
    name = f"{part}-{number:02d}-{kind}"
    batch = synthesizer.apply([_parameters(synthesizer, kind, number, seed)])
    scan = as_scan(batch, synthesizer.config.spacing_mm, name)
    lesion = (batch.target[0] == TissueClass.LESION).cpu().numpy()
    write_nifti(folder / f"{name}.nii.gz", scan.data, scan, np.float32)
    write_nifti(folder / f"{name}_truth.nii.gz", lesion.astype(np.uint8), scan, np.uint8)
    return {"name": name, "kind": kind, "image": f"{name}.nii.gz", "truth": f"{name}_truth.nii.gz"}


def _parameters(synthesizer: Synthesizer, kind: str, number: int, seed: int) -> SampleParameters:
    family: ContrastFamily = {"ct-like": "t1", "low-field": "flair"}.get(kind, kind)  # type: ignore[assignment]
    drawn = case_parameters(synthesizer, ValidationCase(number, family, None, seed))
    drawn = replace(drawn, head=seed % len(synthesizer.heads))
    if kind == "ct-like":
        return ct_contrast(synthesizer, drawn, seed)
    return low_field(drawn, seed) if kind == "low-field" else drawn


def ct_contrast(synthesizer: Synthesizer, drawn: SampleParameters, seed: int) -> SampleParameters:
    """Return the settings of a windowed CT: a mean for each label, varying a little between scans, and the skull."""
    whole = replace(drawn.skull_strip, strip=False, remove_labels=False)
    return replace(drawn, contrast=_ct_means(synthesizer, drawn, seed), skull_strip=whole)


def _ct_means(synthesizer: Synthesizer, drawn: SampleParameters, seed: int) -> ContrastParameters:
    """Return the means of the labels in a windowed CT."""
    sampler = Sampler(seed)
    shift = {group: sampler.normal(0, 0.01) for group in sorted(_CT_MEANS)}
    means = [_CT_MEANS[label.group] + shift[label.group] for label in synthesizer.table.labels]
    return replace(
        drawn.contrast,
        means=torch.tensor(means).unsqueeze(1),
        deviations=torch.full_like(drawn.contrast.deviations, 0.02),
        lesion_means=torch.full_like(drawn.contrast.lesion_means, sampler.uniform(_CT_LESION)),
        lesion_deviations=torch.full_like(drawn.contrast.lesion_deviations, 0.02),
    )


def low_field(drawn: SampleParameters, seed: int, slice_mm: float = 8.0) -> SampleParameters:
    """Return the settings of a low-field scan: thick axial slices, blur by motion, and much noise."""
    sampler = Sampler(seed)
    slices = (0.0, 0.0, slice_mm)
    return replace(
        drawn,
        artefacts=replace(
            drawn.artefacts,
            resolution_mm=slices,
            thickness_mm=slices,
            motion_fwhm_mm=(4.0, 4.0, 0.0),
            noise_deviation=sampler.uniform((0.1, 0.15)),
        ),
    )

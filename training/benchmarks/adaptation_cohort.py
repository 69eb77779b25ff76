"""Simulated cohorts of `adaptation_table.py`: subjects with several sequences, and contrasts that are not trained on.

T1w, T2w and FLAIR of a subject are simulated from one set of quantitative maps. The physics knows no diffusion: the DWI
is of the same head and the same lesion mask, but its intensities are drawn from the contrast family `dwi`, in which the
lesion is acute. `ct-like` and `low-field` are those of `active_learning_cases.py`. Heads and lesions are of the parts
that are not trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from active_learning_cases import NEW, ct_contrast, low_field
from pseudo_label_cohorts import PROTOCOLS, CohortSizes, Simulator, draw_lesions, mask_path, scan_path

from strokelabel.fit.data.recipe_streams import part_brains
from strokelabel.fit.recipe import load_recipe
from strokelabel.io import Image
from strokelabel.io.atomic import atomic_write_json
from strokelabel.io.bids import dataset_description
from strokelabel.io.images import write_nifti
from strokelabel.labels import TissueClass
from strokelabel.reports.validation import as_scan
from strokelabel.synthesis.benchmark import validation_config
from strokelabel.synthesis.config import ContrastFamily
from strokelabel.synthesis.generator import SampleParameters, Synthesizer
from strokelabel.synthesis.prepared.dataset import PreparedData

SEQUENCES = (*PROTOCOLS, "dwi")
"""BIDS suffixes of the scans of a subject in the data set of known contrasts."""

DATASETS: dict[str, tuple[str, ...]] = {"sequences": SEQUENCES, "ct-like": ("T1w",), "low-field": ("FLAIR",)}
"""Data sets of a cohort, and the suffixes of each; the ones of an unseen contrast are named after it."""

_FAMILIES: dict[str, ContrastFamily] = {"dwi": "dwi", "ct-like": "t1", "low-field": "flair"}


@dataclass(frozen=True)
class Cohort:
    """Subjects in three BIDS data sets.

    Attributes:
        folder: holds a folder for each of `DATASETS`.
        subjects: their labels, such as "sub-t01".
    """

    folder: Path
    subjects: tuple[str, ...]

    def scan(self, dataset: str, subject: str, suffix: str) -> Path:
        """Return the file of a scan."""
        return scan_path(self.folder / dataset, subject, suffix)

    def mask(self, dataset: str, subject: str) -> Path:
        """Return the file of a subject's lesion mask."""
        return mask_path(self.folder / dataset, subject)


def make_cohorts(data: PreparedData, sizes: CohortSizes, seed: int, folder: Path) -> tuple[Cohort, Cohort]:
    """Write both cohorts, unless they are there already; no two subjects have the same lesion.

    Args:
        data: prepared brains and lesions.
        sizes: how many subjects to adapt to (`unlabelled`) and to score (`test`).
        seed: decides lesions, anatomy and scans.
        folder: receives a folder for each.

    Returns:
        The subjects that models are adapted to, and those that they are scored on.
    """
    lesions = draw_lesions(data, "test", sizes.least_ml, sizes.unlabelled + sizes.test, seed)
    first, others = lesions[: sizes.unlabelled], lesions[sizes.unlabelled :]
    unlabelled = _make_cohort(data, sizes, first, seed + 1, folder / "unlabelled", "u")
    return unlabelled, _make_cohort(data, sizes, others, seed + 2, folder / "test", "t")


def _make_cohort(
    data: PreparedData, sizes: CohortSizes, lesions: Sequence[int], seed: int, folder: Path, letter: str
) -> Cohort:
    """Write a cohort, unless it is there already; its description comes last and says that it is whole."""
    subjects = tuple(f"sub-{letter}{number + 1:02d}" for number in range(len(lesions)))
    cohort, whole = Cohort(folder, subjects), folder / "dataset_description.json"
    if whole.is_file():
        return cohort
    brains = part_brains(data, load_recipe("synth"), "validation")
    simulator = ContrastSimulator(data, brains, sizes)
    for number, (subject, lesion) in enumerate(zip(subjects, lesions, strict=True)):
        for dataset, suffix, image, mask in simulator.subject(lesion, seed * 10_000 + number):
            write_nifti(cohort.scan(dataset, subject, suffix), image.data, image, np.float32)
            write_nifti(cohort.mask(dataset, subject), mask.astype(np.uint8), image, np.uint8)
        print(f"{folder.name}: {subject} ({number + 1} of {len(subjects)})", flush=True)
    for place in (*(folder / name for name in DATASETS), folder):
        description = dataset_description("Simulated cohort", "adaptation_table.py", kind="raw")
        atomic_write_json(place / "dataset_description.json", description)
    return cohort


class ContrastSimulator:
    """Simulator of all contrasts of a subject with a given lesion.

    Args:
        data: prepared brains and lesions.
        brains: that subjects are made of.
        sizes: of the scans.
    """

    def __init__(self, data: PreparedData, brains: Sequence[str], sizes: CohortSizes) -> None:
        self._physics = Simulator(data, brains, sizes)

    def subject(self, lesion: int, seed: int) -> Iterator[tuple[str, str, Image, np.ndarray]]:
        """Yield data set, suffix, scan and lesion mask (x, y, z) of each scan of a subject."""
        known = None
        for suffix, parameters in self._physics.scans(lesion, tuple(PROTOCOLS), seed):
            known = parameters
            yield "sequences", suffix, *self._physics.render(lesion, parameters)
        assert known is not None, "there are protocols"
        yield "sequences", "dwi", *self._drawn("dwi", lesion, known, seed)
        for contrast in NEW:
            (suffix,) = DATASETS[contrast]
            yield contrast, suffix, *self._drawn(contrast, lesion, known, seed)

    def _drawn(
        self, contrast: str, lesion: int, subject: SampleParameters, seed: int
    ) -> tuple[Image, np.ndarray]:
        """Return a scan whose intensities are drawn from a contrast family, and its lesion mask."""
        synthesizer = self._synthesizer(_FAMILIES[contrast], lesion)
        own = synthesizer.sample(seed)
        drawn = replace(
            own,
            head=subject.head,
            deformation=subject.deformation,
            lesions=subject.lesions,
            realism=subject.realism,
            skull_strip=subject.skull_strip,
        )
        if contrast == "ct-like":
            drawn = ct_contrast(synthesizer, drawn, seed)
        elif contrast == "low-field":
            drawn = low_field(drawn, seed)
        batch = synthesizer.apply([drawn])
        mask = (batch.target[0] == TissueClass.LESION).numpy()
        return as_scan(batch, synthesizer.config.spacing_mm, "simulated"), mask

    def _synthesizer(self, family: ContrastFamily, lesion: int) -> Synthesizer:
        own = self._physics
        config = validation_config(own.config.shape, own.config.spacing_mm)
        contrast = config.contrast.model_copy(update={"families": {family: 1.0}})
        config = config.model_copy(update={"contrast": contrast, "lesion": own.config.lesion})
        return Synthesizer(own.heads, own.data.lesions.subset([lesion]), own.data.table, config)

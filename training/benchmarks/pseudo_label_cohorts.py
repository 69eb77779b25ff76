"""Simulated cohorts of `pseudo_labels.py`: annotated scans, unlabelled ones, and a test cohort, as BIDS data sets.

They stand in for what the paper has of real T1-weighted scans: ATLAS (annotated) and PLORAS (unlabelled). Every subject
has a lesion of its own, chronic as in both, that no other subject of any cohort has. Annotated and unlabelled subjects
are simulated from the recipe's training brains, each cohort from its own half; test subjects from its validation
brains, with T1w, T2w and FLAIR from one set of quantitative maps each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from strokelabel.fit.data.recipe_streams import part_brains
from strokelabel.fit.recipe import load_recipe
from strokelabel.io import Image
from strokelabel.io.atomic import atomic_write_json
from strokelabel.io.bids import dataset_description, derivative_name
from strokelabel.io.images import write_nifti
from strokelabel.labels import BRAIN_GROUPS, TissueClass
from strokelabel.physics.maps import QuantitativeMaps
from strokelabel.physics.presets import CLINICAL, draw_acquisition
from strokelabel.reports.validation import as_scan
from strokelabel.synthesis.anatomy.head import load_heads
from strokelabel.synthesis.benchmark import validation_config
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.generator import SampleParameters, Synthesizer
from strokelabel.synthesis.prepared.dataset import PreparedData, stable_split
from strokelabel.synthesis.sampling import Sampler

MASKS = Path("derivatives/lesion_masks")
"""Masks of a cohort, beside its scans."""

PROTOCOLS = {"T1w": "t1-mprage", "T2w": "t2-fse", "FLAIR": "flair"}
"""BIDS suffixes of simulated scans, and their protocols (`physics.presets.CLINICAL`)."""


@dataclass(frozen=True)
class CohortSizes:
    """Sizes of the simulated cohorts.

    Attributes:
        annotated: subjects with masks; their lesions are all that a synthetic arm has without pseudo-labels.
        unlabelled: subjects without masks.
        test: subjects that all arms are scored on.
        least_ml: smallest lesion.
        shape: voxels of a scan.
        spacing_mm: voxel size of a scan.
    """

    annotated: int = 24
    unlabelled: int = 48
    test: int = 16
    least_ml: float = 3.0
    shape: tuple[int, int, int] = (128, 160, 128)
    spacing_mm: float = 1.5


@dataclass(frozen=True)
class Cohorts:
    """Simulated data of the benchmark.

    Attributes:
        annotated: BIDS data set of T1w scans with lesion masks.
        unlabelled: BIDS data set of T1w scans alone.
        truth: masks of the unlabelled scans, by subject; for judging pseudo-labels, not for training.
        test: BIDS data set of T1w, T2w and FLAIR with one mask per subject.
        prepared: prepared folder with all brains, and of the training lesions those of `annotated` alone.
    """

    annotated: Path
    unlabelled: Path
    truth: Path
    test: Path
    prepared: Path


def make_cohorts(data: PreparedData, sizes: CohortSizes, seed: int, folder: Path) -> Cohorts:
    """Write the cohorts, unless they are there already.

    Args:
        data: prepared brains and lesions.
        sizes: how many of what.
        seed: decides lesions, anatomy and scans.
        folder: receives one folder for each.

    Raises:
        ValueError: there are fewer lesions than subjects.
    """
    cohorts = Cohorts(*(folder / name for name in ("annotated", "unlabelled", "truth", "test", "prepared")))
    train = draw_lesions(data, "train", sizes.least_ml, sizes.annotated + sizes.unlabelled, seed)
    test = draw_lesions(data, "test", sizes.least_ml, sizes.test, seed)
    brains = part_brains(data, load_recipe("synth"), "train")
    unseen = part_brains(data, load_recipe("synth"), "validation")
    own, others = brains[::2], brains[1::2] or brains
    t1 = ("T1w",)
    known, unknown = train[: sizes.annotated], train[sizes.annotated :]
    _write_cohort(Simulator(data, own, sizes), "a", known, t1, seed + 1, cohorts.annotated)
    places = (cohorts.unlabelled, cohorts.truth)
    _write_cohort(Simulator(data, others, sizes), "u", unknown, t1, seed + 2, *places)
    _write_cohort(Simulator(data, unseen, sizes), "t", test, tuple(PROTOCOLS), seed + 3, cohorts.test)
    _write_prepared(data, known, cohorts.prepared)
    return cohorts


def mask_path(folder: Path, subject: str) -> Path:
    """Return the file of a subject's lesion mask in a cohort."""
    name = derivative_name(f"{subject}_T1w", "mask.nii.gz", "lesion", label="L")
    return folder / MASKS / subject / "anat" / name


def scan_path(folder: Path, subject: str, suffix: str = "T1w") -> Path:
    """Return the file of a subject's scan in a cohort."""
    return folder / subject / "anat" / f"{subject}_{suffix}.nii.gz"


def draw_lesions(data: PreparedData, part: str, least_ml: float, count: int, seed: int) -> list[int]:
    """Draw lesions of one part of the stable split, each once."""
    bank = data.lesions
    usable = [
        i
        for i, name in enumerate(bank.names)
        if stable_split(name) == part and bank.volumes_ml[i] >= least_ml
    ]
    if len(usable) < count:
        raise ValueError(
            f"expected {count} lesions of {least_ml:g} ml or more in the part {part!r}, found {len(usable)}"
        )
    return [usable[i] for i in np.random.default_rng(seed).permutation(len(usable))[:count]]


class Simulator:
    """Simulator of subjects with a given lesion.

    Args:
        data: prepared brains and lesions.
        brains: that subjects are made of.
        sizes: of the scans.
    """

    def __init__(self, data: PreparedData, brains: Sequence[str], sizes: CohortSizes) -> None:
        self.data = data
        self.config = _config(sizes)
        self.heads = load_heads(data, list(brains), sizes.spacing_mm)
        self._inside = torch.tensor([label.group in BRAIN_GROUPS for label in data.table.labels])

    def scans(
        self, lesion: int, suffixes: Sequence[str], seed: int
    ) -> Iterator[tuple[str, SampleParameters]]:
        """Yield the parameters of one subject's scans, by their suffix: the same head, lesion and tissue values."""
        subject = self._synthesizer(lesion).sample(seed)
        subject = replace(subject, head=seed % len(self.heads))
        for number, suffix in enumerate(suffixes):
            yield suffix, self._acquired(subject, suffix, seed + 1_000_000 * (number + 1))

    def render(self, lesion: int, parameters: SampleParameters) -> tuple[Image, np.ndarray]:
        """Return a scan and its lesion mask, (x, y, z)."""
        batch = self._synthesizer(lesion).apply([parameters])
        mask = (batch.target[0] == TissueClass.LESION).cpu().numpy()
        return as_scan(batch, self.config.spacing_mm, "simulated"), mask

    def _synthesizer(self, lesion: int) -> Synthesizer:
        return Synthesizer(self.heads, self.data.lesions.subset([lesion]), self.data.table, self.config)

    def _acquired(self, subject: SampleParameters, suffix: str, seed: int) -> SampleParameters:
        """Return the subject with another acquisition of the same tissue values."""
        contrast = subject.contrast
        assert contrast.scan is not None, "the contrast is that of the physics"
        acquisition = draw_acquisition(Sampler(seed), CLINICAL[PROTOCOLS[suffix]])
        brain = torch.cat([contrast.means[self._inside], contrast.lesion_means.flatten(0, 1)])
        signal = acquisition.magnitude(QuantitativeMaps.unstack(brain, dim=1))
        scan = replace(
            contrast.scan,
            protocol=f"clinical/{PROTOCOLS[suffix]}",
            acquisition=acquisition,  # type: ignore[arg-type]  # one of the sequences
            reference=max(float(signal.max()), 1e-6),
        )
        return replace(subject, contrast=replace(contrast, scan=scan))


def _config(sizes: CohortSizes) -> SynthesisConfig:
    """Return the settings of the synthetic benchmark with the physics model, whole heads, and one chronic lesion."""
    config = validation_config(sizes.shape, sizes.spacing_mm).model_dump(mode="json")
    config["contrast"] |= {"model": "physics"}
    config["contrast"]["physics"] |= {
        "presets": {"clinical": 1.0},
        "stages": {"gliosis": 0.5, "cavity": 0.5},
    }
    config["lesion"] |= {"count_weights": {1: 1.0}, "minimum_volume_ml": sizes.least_ml}
    config["lesion"]["embolic"] |= {"probability": 0.0}
    config["lesion"]["stages"] |= {"probability": 0.0}
    return SynthesisConfig.model_validate(config)


def _write_cohort(
    simulator: Simulator,
    letter: str,
    lesions: Sequence[int],
    suffixes: Sequence[str],
    seed: int,
    folder: Path,
    masks: Path | None = None,
) -> None:
    """Write a cohort; its description comes last and says that it is whole."""
    description = folder / "dataset_description.json"
    if description.is_file():
        return
    for number, lesion in enumerate(lesions):
        subject = f"sub-{letter}{number + 1:02d}"
        for suffix, parameters in simulator.scans(lesion, suffixes, seed * 10_000 + number):
            scan, mask = simulator.render(lesion, parameters)
            write_nifti(scan_path(folder, subject, suffix), scan.data, scan, np.float32)
            write_nifti(mask_path(masks or folder, subject), mask.astype(np.uint8), scan, np.uint8)
        print(f"{folder.name}: {subject} ({number + 1} of {len(lesions)})", flush=True)
    atomic_write_json(description, dataset_description("Simulated cohort", "pseudo_labels.py", kind="raw"))


def _write_prepared(data: PreparedData, lesions: Sequence[int], folder: Path) -> None:
    """Write a prepared folder that knows of the training lesions only these; brains and real images are linked."""
    index = folder / "dataset.json"
    if index.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("brains", "real-images"):
        place = folder / name
        if (data.folder / name).is_dir() and not place.is_symlink():
            place.symlink_to((data.folder / name).resolve(), target_is_directory=True)
    others = [i for i, name in enumerate(data.lesions.names) if stable_split(name) != "train"]
    bank = data.lesions.subset([*lesions, *others])
    bank.save(folder / "lesions.npz")
    content = json.loads((data.folder / "dataset.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256("/".join([data.digest, *bank.names]).encode()).hexdigest()
    content |= {"digest": digest, "lesions": {**content["lesions"], "count": len(bank)}}
    atomic_write_json(index, content)

"""Annotated scans brought to the training grid, and their settings in a recipe."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from strokelabel.errors import DataError, ImageError, RecipeError
from strokelabel.geometry import CanonicalGrid
from strokelabel.inference.field_of_view import head_box
from strokelabel.inference.network_input import prepare_intensities
from strokelabel.io.atomic import atomic_path
from strokelabel.io.images import Image
from strokelabel.io.lesion_pairs import LesionPair, find_lesion_pairs, read_lesion_pair
from strokelabel.synthesis.config import Range
from strokelabel.synthesis.prepared.dataset import stable_split
from strokelabel.synthesis.prepared.source_files import fingerprint
from strokelabel.types import Mask


class RealAugmentationConfig(BaseModel):
    """Random changes of a real scan, each made with the same probability.

    Attributes:
        probability: of each change.
        elastic_sigma_voxels: smoothness of the elastic displacement, standard deviation of a Gaussian.
        elastic_magnitude_voxels: factor of the smoothed U(-1, 1) noise; with a smoothness of 6 voxels, 100 moves
            a voxel by about half a voxel (standard deviation per axis).
        histogram_control_points: points at which the histogram is moved up or down.
        bias_coefficients: Legendre coefficients of the logarithm of the receive field, degree 3.
        gamma: exponent of the intensities on [0, 1], uniform.
        noise_deviation: largest standard deviation of Gaussian noise on [0, 1].
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    probability: float = Field(default=0.8, ge=0, le=1)
    elastic_sigma_voxels: Range = (5.0, 7.0)
    elastic_magnitude_voxels: Range = (50.0, 150.0)
    histogram_control_points: int = Field(default=10, ge=3)
    bias_coefficients: Range = (0.0, 0.1)
    gamma: Range = (0.5, 4.5)
    noise_deviation: float = Field(default=0.1, ge=0)


class RealConfig(BaseModel):
    """Annotated scans of a recipe.

    Attributes:
        folder: BIDS data set (or folder) of scans with lesion masks; a shipped recipe leaves it to the command.
        masks: folder of the masks, if there are several in the data set.
        suffixes: BIDS suffixes of the scans to use, such as "T1w"; all if empty.
        fraction: of the items of the training stream that are real; 1 trains on real scans alone. The paper has
            419 real to 2579 synthetic images, 0.14.
        train: subjects to train on, names or patterns; if empty, the stable split decides.
        validation: subjects to validate on, likewise; both or none must be given.
        augmentation: random changes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path | None = None
    masks: Path | None = None
    suffixes: tuple[str, ...] = ()
    fraction: float = Field(default=1.0, gt=0, le=1)
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    augmentation: RealAugmentationConfig = RealAugmentationConfig()

    @model_validator(mode="after")
    def _both_parts_or_none(self) -> Self:
        if bool(self.train) != bool(self.validation):
            raise ValueError("expected subjects for train and for validation, or for neither")
        return self


class PseudoLabelConfig(BaseModel):
    """Masks that a model drew on an unlabelled cohort, used as lesions of synthetic images.

    Attributes:
        folder: written by `strokelabel pseudo-label`; a shipped recipe leaves it to the command.
        gate: take only the masks that the command's quality gate accepted; without it, all that could be mapped to
            ICBM space. Masks that an annotator accepted or corrected are taken, rejected ones are not, in any case.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path | None = None
    gate: bool = True


FORMAT_VERSION = 1
"""Version of the stored scans; those of another version are prepared again."""

_LOG = logging.getLogger(__name__)

OnProgress = Callable[[int, int], None]
"""Called with how many scans are ready, and how many there are."""


@dataclass(frozen=True)
class RealScan:
    """A prepared scan.

    Attributes:
        name: unique in its data set.
        subject: who it is of.
        path: the stored volumes.
    """

    name: str
    subject: str
    path: Path

    def load(self) -> tuple[Tensor, Tensor]:
        """Return the image (x, y, z) float32 with its brightest voxel at 1 and air at zero, and lesion (x, y, z) bool.

        Raises:
            DataError: the stored file is gone or damaged.
        """
        try:
            stored = load_file(self.path)
            image = stored["image"].float()
            bits = np.unpackbits(stored["lesion"].numpy(), count=image.numel())
        except (OSError, KeyError, SafetensorError, ValueError) as error:
            raise DataError(
                f"{self.path}: expected a prepared scan, which could not be read ({error}); delete it and start again"
            ) from error
        return image, torch.from_numpy(bits.astype(bool)).view(image.shape)


@dataclass(frozen=True)
class RealDataset:
    """Prepared scans of a data set.

    Attributes:
        scans: in the order of their names.
        refused: scan name → why it was left out.
    """

    scans: tuple[RealScan, ...]
    refused: dict[str, str]

    def of_subjects(self, subjects: Iterable[str]) -> RealDataset:
        """Return the scans of some subjects."""
        wanted = set(subjects)
        return RealDataset(tuple(scan for scan in self.scans if scan.subject in wanted), self.refused)

    @property
    def subjects(self) -> tuple[str, ...]:
        """All subjects, in order."""
        return tuple(sorted({scan.subject for scan in self.scans}))


def prepare_real(
    config: RealConfig,
    spacing_mm: float,
    cache: Path,
    on_progress: OnProgress = lambda done, total: None,
) -> RealDataset:
    """Find the scans of a recipe and prepare those that the cache does not hold.

    Scan and mask go the way of a prediction: intensities with air at zero, closest axes to right-anterior-superior,
    isotropic voxels; then everything but the head is cut off. Normalisation follows after augmentation.

    Args:
        config: which scans.
        spacing_mm: voxel size.
        cache: folder for prepared scans; named by the content of their files, so that it may serve many data sets.
        on_progress: called after every scan.

    Raises:
        RecipeError: the recipe names no folder.
        DataError: no scans with masks there, or none of them usable.
        OutputError: the cache cannot be written.
    """
    if config.folder is None:
        raise RecipeError(
            "real.folder: expected a folder of scans with lesion masks, this recipe needs one; name it with --real"
        )
    search = find_lesion_pairs(config.folder, masks=config.masks, suffixes=config.suffixes)
    scans, refused = [], {}
    for done, pair in enumerate(search.pairs):
        on_progress(done, len(search.pairs))
        try:
            scans.append(_prepare(pair, spacing_mm, cache))
        except ImageError as error:
            refused[pair.name] = str(error)
            _LOG.warning("%s is left out: %s", pair.name, error)
    on_progress(len(search.pairs), len(search.pairs))
    if not scans:
        first = next(iter(refused.values()))
        raise DataError(
            f"{config.folder}: expected a usable scan, all {len(refused)} were refused; first: {first}"
        )
    return RealDataset(tuple(scans), refused)


def split_subjects(config: RealConfig, subjects: tuple[str, ...]) -> dict[str, list[str]]:
    """Split subjects into those to train on and to validate on: by the recipe's patterns, or by the stable split.

    The stable split leaves a tenth for tests. In a small cohort where its validation part is empty, the first subject
    of the test part takes its place, or the last one of training.

    Returns:
        "train" and "validation", each with at least one subject, none in both.

    Raises:
        RecipeError: a pattern matches no subject, or a subject is in both parts.
        DataError: there are fewer than two subjects.
    """
    if len(subjects) < 2:
        raise DataError(
            f"expected scans of at least two subjects, one to train on and one to validate on, got {list(subjects)}"
        )
    if config.train:
        return _chosen_subjects(config, subjects)
    parts: dict[str, list[str]] = defaultdict(list)
    for subject in subjects:
        parts[stable_split(subject)].append(subject)
    for part, donors in (("validation", ("test", "train")), ("train", ("test", "validation"))):
        donor = next((d for d in donors if len(parts[d]) > (d != "test")), None)
        if not parts[part] and donor is not None:
            parts[part].append(parts[donor].pop())
    return {part: parts[part] for part in ("train", "validation")}


def _chosen_subjects(config: RealConfig, subjects: tuple[str, ...]) -> dict[str, list[str]]:
    parts = {}
    for part, patterns in (("train", config.train), ("validation", config.validation)):
        for pattern in patterns:
            if not any(fnmatch(subject, pattern) for subject in subjects):
                raise RecipeError(f"real.{part}: {pattern!r} matches none of the subjects {list(subjects)}")
        parts[part] = [s for s in subjects if any(fnmatch(s, pattern) for pattern in patterns)]
    both = sorted(set(parts["train"]) & set(parts["validation"]))
    if both:
        raise RecipeError(f"real.validation: expected subjects that are not in real.train too, got {both}")
    return parts


def _prepare(pair: LesionPair, spacing_mm: float, cache: Path) -> RealScan:
    """Return one scan from the cache, or prepare it."""
    scan = RealScan(pair.name, pair.subject, cache / f"{_key(pair, spacing_mm)}.safetensors")
    if not _is_whole(scan.path):
        store_scan(scan.path, *canonical_pair(*read_lesion_pair(pair), spacing_mm))
    return scan


def _is_whole(path: Path) -> bool:
    """Return whether there is a complete stored scan; only its header is read."""
    try:
        with safe_open(path, framework="pt") as stored:
            return set(stored.keys()) == {"image", "lesion"}
    except (OSError, SafetensorError):
        return False


def canonical_pair(image: Image, lesion: Mask, spacing_mm: float) -> tuple[np.ndarray, Mask]:
    """Return a scan and its mask on the canonical grid, cut to the head.

    The mask is interpolated and cut at one half, or taken by nearest neighbour where that would lose most of a small
    lesion.

    Returns:
        (x, y, z) float32, air zero, brightest voxel 1; (x, y, z) bool.
    """
    grid = CanonicalGrid.for_image(image.grid.shape, image.affine, spacing_mm)
    volume = grid.forward(prepare_intensities(image.data, None))
    soft, nearest = grid.forward(lesion.astype(np.float32)) >= 0.5, grid.forward_labels(lesion)
    mask = soft if 2 * soft.sum() >= nearest.sum() else nearest
    box = head_box(volume, spacing_mm)
    cut = box.crop(volume)
    return cut / max(float(cut.max()), 1e-12), box.crop(mask)


def _key(pair: LesionPair, spacing_mm: float) -> str:
    parts = (fingerprint(pair.image), fingerprint(pair.mask), f"{spacing_mm:g}", str(FORMAT_VERSION))
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]


def store_scan(path: Path, image: np.ndarray, lesion: Mask) -> None:
    """Write a prepared scan, atomically: half precision and one bit a voxel, some 20 MB for a head of 1 mm."""
    tensors = {
        "image": torch.from_numpy(image).half().contiguous(),
        "lesion": torch.from_numpy(np.packbits(lesion)),
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)

"""Submitted labels as training data: checked against their scans, brought to the canonical grid, split by subject."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strokelabel.errors import DataError, ImageError, LabelMapError
from strokelabel.fit.data.annotated_scans.scans import RealScan, canonical_pair, store_scan
from strokelabel.geometry import bring_to_grid
from strokelabel.io.images import Image, read_image
from strokelabel.io.label_files import LESION_NAME, read_label_file
from strokelabel.synthesis.prepared.source_files import fingerprint
from strokelabel.types import Mask

FORMAT_VERSION = 2
"""Version of the stored scans; those of another version are prepared again."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SubmittedLabel:
    """A scan and the label that an annotator submitted for it.

    Attributes:
        name: the scan's id.
        subject: who it is of; scans of one subject are trained on or validated on together.
        image: the scan's file.
        label: the label's file, NIfTI or NRRD.
        lesion_value: value of the lesion in the label; None where every value above 0 is lesion.
    """

    name: str
    subject: str
    image: Path
    label: Path
    lesion_value: int | None = None


@dataclass(frozen=True)
class FineTuneCase:
    """A usable submitted label.

    Attributes:
        submitted: scan and label.
        scan: both on the canonical grid, stored.
        image_sha256: of the scan's file.
        label_sha256: of the label's file.
    """

    submitted: SubmittedLabel
    scan: RealScan
    image_sha256: str
    label_sha256: str


@dataclass(frozen=True)
class CaseSplit:
    """Subjects to train on and held-out subjects."""

    train: tuple[FineTuneCase, ...]
    validation: tuple[FineTuneCase, ...]


def prepare_cases(
    labels: Sequence[SubmittedLabel], spacing_mm: float, cache: Path
) -> tuple[list[FineTuneCase], dict[str, str]]:
    """Prepare submitted labels that the cache does not hold yet.

    Args:
        labels: in any order.
        spacing_mm: voxel size of the network.
        cache: folder for prepared scans, named by their content.

    Returns:
        The usable ones in the order of their names, and why each other one is left out, by name.

    Raises:
        DataError: none is usable.
        OutputError: the cache cannot be written.
    """
    cases, refused = [], {}
    for label in sorted(labels, key=lambda item: item.name):
        try:
            cases.append(_prepare(label, spacing_mm, cache))
        except (ImageError, LabelMapError) as error:
            refused[label.name] = str(error)
            _LOG.warning("%s is left out: %s", label.name, error)
    if not cases:
        reason = next(iter(refused.values()), "no label has been submitted yet")
        raise DataError(f"expected submitted labels to fine-tune on, found none that can be used: {reason}")
    return cases, refused


def split_cases(
    cases: Sequence[FineTuneCase], fraction: float, trained: Collection[str] = frozenset()
) -> CaseSplit:
    """Hold out subjects to validate on.

    A subject's part depends on its name alone, by hash, so that labels that come later do not change it. In a cohort
    where no subject falls into validation, the subject with the greatest hash does. Who was trained on before is never
    held out.

    Args:
        cases: at least one.
        fraction: of the subjects, to be held out; 0 for none.
        trained: subjects that the weights have been trained on.
    """
    subjects = sorted({case.submitted.subject for case in cases}, key=_position)
    fresh = [subject for subject in subjects if subject not in trained]
    if len(fresh) == len(subjects):
        fresh = fresh[1:]  # training needs a subject
    held_out = set(fresh[-1:]) if fraction else set()
    held_out |= {subject for subject in fresh if _position(subject) >= 1 - fraction}
    return CaseSplit(
        train=tuple(case for case in cases if case.submitted.subject not in held_out),
        validation=tuple(case for case in cases if case.submitted.subject in held_out),
    )


def read_submitted(label: SubmittedLabel) -> tuple[Image, Mask]:
    """Return a scan and its lesion mask on the scan's grid.

    A label whose axes are in another order or direction, as viewers write them, is turned back. A segmentation of 3D
    Slicer (.seg.nrrd) may cover a part of the scan.

    Raises:
        ImageError: a file cannot be read, or the label is not on the scan's grid (`GeometryError`).
        LabelMapError: the label holds several values without names, or is no label map.
    """
    image = read_image(label.image)
    names = None if label.lesion_value is None else {LESION_NAME: label.lesion_value}
    file = read_label_file(label.label, names)
    labels = bring_to_grid(
        file.data,
        file.grid,
        image.grid,
        f"label of {label.name}",
        "its scan",
        may_be_part=file.may_be_cropped,
    )
    if label.lesion_value is not None:
        return image, labels == label.lesion_value
    found = np.unique(labels[labels > 0])
    if len(found) > 1:
        raise LabelMapError(
            f"label of {label.name}: expected one value above 0, found {', '.join(map(str, found[:8]))} without names; "
            "submit it with label_info, which says which of them is the lesion"
        )
    return image, labels > 0


def _prepare(label: SubmittedLabel, spacing_mm: float, cache: Path) -> FineTuneCase:
    try:
        image_sha256, label_sha256 = fingerprint(label.image), fingerprint(label.label)
    except OSError as error:
        raise ImageError(f"{label.name}: expected a scan and its label ({error.strerror})") from error
    key = f"{image_sha256}/{label_sha256}/{label.lesion_value}/{spacing_mm:g}/{FORMAT_VERSION}"
    path = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    scan = RealScan(label.name, label.subject, path)
    try:
        scan.load()
    except DataError:
        store_scan(path, *canonical_pair(*read_submitted(label), spacing_mm))
    return FineTuneCase(label, scan, image_sha256, label_sha256)


def _position(subject: str) -> float:
    """Return the position of a name's hash between 0 and 1."""
    return int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], "big") / 2**64

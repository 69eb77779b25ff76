"""Prepared training data: label maps registered to ICBM space, and the lesions to put into them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from strokelabel.errors import DataError
from strokelabel.io.atomic import atomic_path, atomic_write_json
from strokelabel.labels import AnatomicalLabel, LabelTable
from strokelabel.structures import Structure, structures_from_rows
from strokelabel.synthesis.lesions.bank import LesionBank
from strokelabel.types import Affine

SPLIT_FRACTIONS: Mapping[str, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}
"""Default fractions of `stable_split`."""

VARIANT_MARK = "_clusters-"
"""Before the number of a variant in the name of a label map, where one image gave several."""


def image_of_variant(name: str) -> str:
    """Return the name of the image that a label map was made of: its own where it gave one label map alone."""
    return re.sub(rf"{VARIANT_MARK}\d+$", "", name)


@dataclass(frozen=True)
class PreparedBrain:
    """A label map ready for synthesis.

    Attributes:
        name: unique in its data set.
        labels: index of each voxel's label in the label table, (x, y, z), 1 mm, axes closest to RAS.
        affine: voxel index to RAS mm.
        to_icbm: RAS mm to ICBM RAS mm; the identity, which says nothing, where labels are intensity clusters.
        similarity: how well the brain and the template agree (`registration.Registration`); 0 then.
    """

    name: str
    labels: NDArray[np.uint8]
    affine: Affine
    to_icbm: Affine
    similarity: float


@dataclass(frozen=True)
class PreparedData:
    """A folder written by `strokelabel prepare`.

    Attributes:
        folder: where it lies.
        table: the label table that `PreparedBrain.labels` index.
        brain_names: in alphabetical order.
        lesions: every lesion, on the ICBM 1 mm grid.
        digest: SHA-256 over all sources and the label table; it changes when the data does.
        structures: what label maps that were split into intensity clusters were made of, the background first; empty
            for FreeSurfer's labels.
    """

    folder: Path
    table: LabelTable
    brain_names: tuple[str, ...]
    lesions: LesionBank
    digest: str
    structures: tuple[Structure, ...] = ()

    @classmethod
    def load(cls, folder: str | Path) -> PreparedData:
        """Open a prepared folder; label maps are read later, one at a time, by `brain`.

        Raises:
            DataError: the folder was not prepared, incomplete, or its parts do not belong together.
        """
        folder = Path(folder)
        description = _read_json(folder / "dataset.json")
        lesions = LesionBank.load(folder / "lesions.npz")
        try:
            parents = {int(label): int(parent) for label, parent in description.get("parents", {}).items()}
            table = LabelTable(tuple(AnatomicalLabel(**row) for row in description["label_table"]), parents)
            rows = description.get("structures", [])
            structures = structures_from_rows(rows, f"{folder}/dataset.json") if rows else ()
            names = tuple(description["brains"])
            data = cls(folder, table, names, lesions, description["digest"], structures)
            expected = description["lesions"]["count"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{folder}/dataset.json: entry missing or malformed ({error}); {_AGAIN}"
            ) from error
        if len(lesions) != expected:
            raise DataError(
                f"{folder}: expected {expected} lesions in lesions.npz, found {len(lesions)}; {_AGAIN}"
            )
        return data

    def brain(self, name: str) -> PreparedBrain:
        """Read one brain.

        Raises:
            DataError: no brain of that name, or its files are missing or damaged.
        """
        if name not in self.brain_names:
            raise DataError(
                f"{self.folder}: expected one of the brains {', '.join(self.brain_names)}, got {name!r}"
            )
        return read_brain(self.folder, name)

    def brains(self) -> tuple[PreparedBrain, ...]:
        """Read all brains (about 9 MB each in memory)."""
        return tuple(self.brain(name) for name in self.brain_names)


def read_brain(folder: Path, name: str) -> PreparedBrain:
    """Read a brain's label map and sidecar from a prepared folder.

    Raises:
        DataError: a file is missing or damaged.
    """
    sidecar = _read_json(folder / "brains" / f"{name}.json")
    path = folder / "brains" / f"{name}.nii"  # as it comes out of a pack, which is compressed as a whole
    path = path if path.exists() else path.with_suffix(".nii.gz")
    try:
        image = nib.Nifti1Image.from_filename(path)
        labels = np.asarray(image.dataobj, dtype=np.uint8)
        to_icbm = np.array(sidecar["to_icbm"], dtype=np.float64).reshape(4, 4)
        affine = np.asarray(image.affine, dtype=np.float64)
        return PreparedBrain(name, labels, affine, to_icbm, float(sidecar["similarity"]))
    except (OSError, EOFError, ValueError, KeyError, nib.filebasedimages.ImageFileError) as error:
        raise DataError(f"{path}: could not be read ({error}); {_AGAIN}") from error


def brain_is_done(folder: Path, name: str, sha256: str) -> bool:
    """Return whether a prepared folder holds a brain, undamaged, that was made of sources with this fingerprint."""
    try:
        read_brain(folder, name)
        return bool(_read_json(folder / "brains" / f"{name}.json").get("sha256") == sha256)
    except DataError:
        return False


def write_brain(folder: Path, brain: PreparedBrain, about: Mapping[str, Any]) -> None:
    """Write a brain's label map and sidecar into a prepared folder.

    Args:
        folder: to write into.
        brain: what is written.
        about: further entries of the sidecar, such as its sources and their fingerprint.

    Raises:
        OutputError: a file cannot be written.
    """
    target = folder / "brains" / f"{brain.name}.nii.gz"
    sidecar = target.with_name(f"{brain.name}.json")
    # The sidecar vouches for the label map: it goes away before the map changes and comes back after.
    sidecar.unlink(missing_ok=True)
    with atomic_path(target) as temporary:
        nib.Nifti1Image(brain.labels, brain.affine).to_filename(temporary)
    placed = {"to_icbm": brain.to_icbm.tolist(), "similarity": round(brain.similarity, 6)}
    atomic_write_json(sidecar, {"name": brain.name, **about, **placed})


def stable_split(name: str, fractions: Mapping[str, float] = SPLIT_FRACTIONS) -> str:
    """Say which part of a data set a name belongs to.

    The answer depends on the name alone (by SHA-256), so that it stays when data are added or removed.

    Args:
        name: of a lesion, a brain, a subject.
        fractions: part → fraction; they must add up to 1.

    Raises:
        DataError: the fractions do not add up to 1, or one is negative.
    """
    if abs(sum(fractions.values()) - 1.0) > 1e-6 or min(fractions.values()) < 0:
        raise DataError(f"expected fractions that add up to 1, got {dict(fractions)}")
    position = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    upper = 0.0
    for part, fraction in fractions.items():
        upper += fraction
        if position < upper:
            return part
    return list(fractions)[-1]


_AGAIN = "run `strokelabel prepare` again"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected prepared training data, found none ({error}); {_AGAIN}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object; {_AGAIN}")
    return content

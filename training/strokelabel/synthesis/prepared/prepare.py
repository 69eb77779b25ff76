"""Preparation of training data: label maps are registered to ICBM space, and lesions collected."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strokelabel.errors import DataError, ImageError, LabelMapError
from strokelabel.io.atomic import atomic_write_json, check_folder
from strokelabel.labels import LabelTable, default_label_table
from strokelabel.synthesis.lesions.bank import Lesion, LesionBank
from strokelabel.synthesis.prepared.dataset import (
    PreparedBrain,
    PreparedData,
    brain_is_done,
    read_brain,
    write_brain,
)
from strokelabel.synthesis.prepared.icbm import icbm_template
from strokelabel.synthesis.prepared.registration import MINIMUM_SIMILARITY, register_to_icbm
from strokelabel.synthesis.prepared.source_files import (
    SourceFile,
    find_sources,
    fingerprint,
    read_label_map,
    read_lesion_mask,
)

FORMAT_VERSION = 1
"""Version of the prepared files; brains and lesions of another version are prepared again."""

LESIONS_PER_SAVE = 500
"""Number of new lesions after which the bank is saved, so that an interrupted run loses little."""

OnProgress = Callable[[str, int, int], None]
"""Called with the stage ("brains" or "lesions"), how many are done, and how many there are."""


@dataclass(frozen=True)
class PreparationResult:
    """Result of `prepare_data`.

    Attributes:
        data: the prepared folder, open.
        refused: lesion name → why it was left out.
        warnings: brains whose alignment deserves a look.
    """

    data: PreparedData
    refused: dict[str, str]
    warnings: tuple[str, ...]


def prepare_data(
    brains: Sequence[Path],
    lesions: Sequence[Path],
    output: Path,
    table: LabelTable | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> PreparationResult:
    """Write a folder of prepared training data.

    What an earlier run finished is kept where its source, the label table and the format are the same, so that an
    interrupted run continues where it stopped.

    Args:
        brains: folders (or files) of label maps.
        lesions: folders (or files) of lesion masks in ICBM (MNI) space; a folder's name becomes their source.
        output: folder to write: brains/, lesions.npz and, last of all, dataset.json.
        table: the meaning of the label maps' values; by default FreeSurfer's.
        on_progress: called after every file.

    Raises:
        DataError: nothing found, names that clash, or no usable lesion.
        LabelMapError: a label map with unknown values, without a brain, or with its sides swapped.
        ImageError: a label map cannot be read. (A lesion that cannot be used is left out and noted.)
        OutputError: the folder cannot be written.
    """
    table = table or default_label_table()
    check_folder(output / "brains")
    brain_files = find_sources(brains, prefix_source=False)
    lesion_files = find_sources(lesions, prefix_source=True)
    warnings = _prepare_brains(brain_files, output, table, on_progress)
    bank, refused = _prepare_lesions(lesion_files, output / "lesions.npz", on_progress)
    _describe(output, [file.name for file in brain_files], bank, refused, table)
    return PreparationResult(PreparedData.load(output), refused, tuple(warnings))


def _prepare_brains(
    files: list[SourceFile], output: Path, table: LabelTable, on_progress: OnProgress
) -> list[str]:
    table_text = json.dumps([dataclasses.astuple(label) for label in table.labels])
    warnings = []
    for done, file in enumerate(files):
        on_progress("brains", done, len(files))
        sha256 = fingerprint(file.path, table_text, str(FORMAT_VERSION))
        if not brain_is_done(output, file.name, sha256):
            _prepare_brain(file, sha256, output, table)
        similarity = read_brain(output, file.name).similarity
        if similarity < MINIMUM_SIMILARITY:
            warnings.append(
                f"{file.path}: its correlation with the ICBM template is {similarity:.2f} after alignment, expected "
                f"at least {MINIMUM_SIMILARITY}; lesions may be misplaced; check it or leave it out"
            )
    on_progress("brains", len(files), len(files))
    return warnings


def _prepare_brain(file: SourceFile, sha256: str, output: Path, table: LabelTable) -> None:
    labels, affine = read_label_map(file.path, table)
    registration = register_to_icbm(labels, affine, table, str(file.path))
    about = {
        "source": file.path.name,
        "sha256": sha256,
        "label_ids": [label.id for label in table.labels],
    }
    brain = PreparedBrain(file.name, labels, affine, registration.to_icbm, registration.similarity)
    write_brain(output, brain, about)


def _prepare_lesions(
    files: list[SourceFile], path: Path, on_progress: OnProgress
) -> tuple[LesionBank, dict[str, str]]:
    known = _known_lesions(path)
    refused: dict[str, str] = {}
    lesions: list[Lesion] = []
    fresh = 0
    for done, file in enumerate(files):
        on_progress("lesions", done, len(files))
        sha256 = fingerprint(file.path, str(FORMAT_VERSION))
        lesion = known.get((file.name, sha256))
        if lesion is None:
            try:
                offset, mask = read_lesion_mask(file.path)
            except (ImageError, LabelMapError) as error:
                refused[file.name] = str(error)
                continue
            lesion = Lesion(file.name, file.source, sha256, offset, mask)
            fresh += 1
        lesions.append(lesion)
        if fresh >= LESIONS_PER_SAVE:
            _pack(lesions).save(path)
            fresh = 0
    on_progress("lesions", len(files), len(files))
    if not lesions:
        first = next(iter(refused.values()))
        raise DataError(
            f"expected at least one usable lesion mask, all {len(files)} were refused; the first: {first}"
        )
    bank = _pack(lesions)
    bank.save(path)
    return bank, refused


def _known_lesions(path: Path) -> dict[tuple[str, str], Lesion]:
    """Return the lesions of an earlier run by name and fingerprint; none without an undamaged bank."""
    try:
        bank = LesionBank.load(path)
    except DataError:
        return {}
    return {(bank.names[i], bank.sha256[i]): bank.lesion(i) for i in range(len(bank))}


def _pack(lesions: list[Lesion]) -> LesionBank:
    template = icbm_template()
    return LesionBank.from_lesions(lesions, template.shape, template.affine)


def _describe(
    output: Path, brain_names: list[str], bank: LesionBank, refused: dict[str, str], table: LabelTable
) -> None:
    similarities = {name: read_brain(output, name).similarity for name in brain_names}
    sidecars = [json.loads((output / "brains" / f"{name}.json").read_text()) for name in brain_names]
    digest = hashlib.sha256(json.dumps([[s["name"], s["sha256"]] for s in sidecars]).encode())
    digest.update(json.dumps([bank.names, bank.sha256]).encode())
    description = {
        "format_version": FORMAT_VERSION,
        "digest": digest.hexdigest(),
        "brains": brain_names,
        "similarity": similarities,
        "lesions": {
            "count": len(bank),
            "per_source": dict(Counter(bank.sources)),
            "median_ml": float(np.median(bank.volumes_ml)),
            "refused": refused,
        },
        "label_table": [dataclasses.asdict(label) for label in table.labels],
    }
    atomic_write_json(output / "dataset.json", description)

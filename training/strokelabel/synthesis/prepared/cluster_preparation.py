"""Preparation of images with a few labels and nothing else: every label is split into clusters of intensity.

Other organs have no label maps of all that an image shows, and there is no ICBM space for them (Billot et al. 2023,
section 5.4 and supplement 7). Prepared are label maps of clusters, the structure that each cluster is a part of, and
the table of the structures. There are no lesions.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strokelabel.errors import LabelMapError, OptionError
from strokelabel.io.atomic import atomic_write_json, check_folder
from strokelabel.io.images import Image
from strokelabel.labels import AnatomicalLabel, LabelTable
from strokelabel.structures import (
    Structure,
    read_structure_table,
    structure_rows,
    structures_from_rows,
    structures_from_values,
)
from strokelabel.synthesis.lesions.bank import LesionBank
from strokelabel.synthesis.prepared.dataset import (
    VARIANT_MARK,
    PreparedBrain,
    PreparedData,
    brain_is_done,
    write_brain,
)
from strokelabel.synthesis.prepared.image_pairs import (
    ImagePair,
    find_image_pairs,
    read_intensities,
    read_labels,
)
from strokelabel.synthesis.prepared.intensity_clusters import cluster_labels
from strokelabel.synthesis.prepared.source_files import (
    MAXIMUM_LABELS,
    fingerprint,
    prepared_grid,
)

FORMAT_VERSION = 1
"""Version of the clusters; label maps of another version are prepared again."""

STRUCTURE_TABLE = "dseg.tsv"
"""Table of structures that is looked for in the folder of label maps (BIDS)."""

_SLAB_MM = 24.0
"""Thickness of the head that is made of a single slice."""

_FIRST_ID = 100_000
"""Of clusters; beyond FreeSurfer's numbers, which settings of a recipe refer to."""


@dataclass(frozen=True)
class ClusterOptions:
    """Numbers of clusters.

    Attributes:
        foreground: clusters of each structure; 1 leaves structures as they are.
        background: least and greatest number of clusters of the background, drawn for each label map; the darkest is
            air.
        variants: label maps made of each image, with other numbers of clusters and other starts.
        seed: of all draws.
    """

    foreground: int = 2
    background: tuple[int, int] = (3, 10)
    variants: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that no clusters can be made with.

        Raises:
            OptionError: naming them.
        """
        low, high = self.background
        if not (self.foreground >= 1 and 1 <= low <= high and self.variants >= 1 and self.seed >= 0):
            raise OptionError(
                "expected at least one cluster for each label, one for the background (the lower number first) and one "
                f"variant, got {self.foreground}, {low} to {high} and {self.variants}"
            )


def prepare_clusters(
    folder: Path,
    output: Path,
    *,
    labels: Path | None = None,
    structures: Path | None = None,
    options: ClusterOptions | None = None,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> PreparedData:
    """Write a folder of prepared training data from images with label maps.

    What an earlier run finished is kept where image, label map, structures and options are the same.

    Args:
        folder: of images with label maps, named as this module says.
        output: folder to write.
        labels: folder of the label maps, where it is another one.
        structures: table of the structures; `dseg.tsv` in the folder of label maps if None, and where there is none,
            structures are named after the values of the label maps.
        options: numbers of clusters.
        on_progress: called with "images" after every label map, how many are done, and how many there are.

    Raises:
        DataError: no label maps, or one without an image.
        LabelMapError: a label map with values that are not whole numbers or not in the table, without any label, or
            with fewer voxels of a label than clusters; a damaged table; too many structures.
        ImageError: an image cannot be read or is not on the grid of its label map.
        OutputError: the folder cannot be written.
    """
    options = options or ClusterOptions()
    check_folder(output / "brains")
    pairs = find_image_pairs(folder, labels)
    found = _structures(labels or folder, structures, pairs)
    table = cluster_table(found, options)
    described = json.dumps([structure_rows(found), dataclasses.astuple(options), FORMAT_VERSION])
    prepared = [(pair, variant) for pair in pairs for variant in range(1, options.variants + 1)]
    fingerprints = {}
    for done, (pair, variant) in enumerate(prepared):
        on_progress("images", done, len(prepared))
        name = f"{pair.name}{VARIANT_MARK}{variant}" if options.variants > 1 else pair.name
        sha256 = fingerprint(pair.labels, fingerprint(pair.image), described)
        if not brain_is_done(output, name, sha256):
            brain, counts = _split(pair, name, variant, found, options)
            sources = [pair.labels.name, pair.image.name]
            write_brain(output, brain, {"source": sources, "sha256": sha256, "clusters": counts})
        fingerprints[name] = sha256
    on_progress("images", len(prepared), len(prepared))
    LesionBank.from_lesions([], (1, 1, 1), np.eye(4)).save(output / "lesions.npz")
    description = {
        "format_version": FORMAT_VERSION,
        "digest": hashlib.sha256(json.dumps(sorted(fingerprints.items())).encode()).hexdigest(),
        "brains": list(fingerprints),
        "lesions": {"count": 0},
        "label_table": [dataclasses.asdict(label) for label in table.labels],
        "parents": table.parents,
        "structures": structure_rows(found),
        "clusters": dataclasses.asdict(options),
    }
    atomic_write_json(output / "dataset.json", description)
    return PreparedData.load(output)


def cluster_table(structures: Sequence[Structure], options: ClusterOptions) -> LabelTable:
    """Return the labels of clusters: those of the background, air first, then those of each structure in turn.

    Raises:
        LabelMapError: there would be more than a prepared label map can hold.
    """
    counts = _rows_of_each(structures, options)
    if sum(counts) > MAXIMUM_LABELS:
        raise LabelMapError(
            f"expected at most {MAXIMUM_LABELS} clusters in all, found {sum(counts)} of {len(structures) - 1} "
            "structures and the background; ask for fewer clusters, or merge structures"
        )
    first = dict(zip([one.id for one in structures], _first_rows(counts).tolist(), strict=True))
    rows, parents = [], {}
    for structure, count in zip(structures, counts, strict=True):
        for rank in range(count):
            label_id = _cluster_id(first[structure.id] + rank)
            mirror = _cluster_id(first[structure.mirror] + rank)
            group = "soft" if label_id else "background"
            name = structure.name if count == 1 else f"{structure.name}, cluster {rank + 1}"
            rows.append(AnatomicalLabel(label_id, name, structure.side, group, mirror))
            parents[label_id] = structure.id
    return LabelTable(tuple(rows), parents)


def _cluster_id(row: int) -> int:
    """Return the id of a row; the first one is air, which is 0 in every label table."""
    return _FIRST_ID + row if row else 0


def _structures(folder: Path, table: Path | None, pairs: Sequence[ImagePair]) -> tuple[Structure, ...]:
    """Return the structures of a table, or of the values that occur where there is none."""
    beside = folder / STRUCTURE_TABLE
    if table is not None or beside.is_file():
        return read_structure_table(table or beside)
    values: set[int] = set()
    if all(pair.slice is not None for pair in pairs):
        return structures_from_rows([{"index": 1, "name": "lesion"}], str(folder))
    for pair in pairs:
        values |= _values(read_labels(pair))
    return structures_from_values(values)


def _values(labels: Image) -> set[int]:
    """Return the values that occur in a label map."""
    return set(np.flatnonzero(np.bincount(labels.data.ravel())).tolist())


def _split(
    pair: ImagePair, name: str, variant: int, structures: Sequence[Structure], options: ClusterOptions
) -> tuple[PreparedBrain, dict[str, int]]:
    """Return the prepared label map of an image's clusters, and the number of clusters of the background."""
    labels = read_labels(pair)
    intensities = read_intensities(pair, labels)
    present = _values(labels)
    known = [structure.id for structure in structures]
    if unknown := sorted(present - set(known)):
        raise LabelMapError(
            f"expected values of the table of structures ({', '.join(map(str, known))}), found {unknown[:10]}; "
            "add rows for them",
            source=pair.labels,
        )
    rng = np.random.default_rng([options.seed, variant, *hashlib.sha256(pair.name.encode()).digest()])
    low, high = options.background
    counts = {value: options.foreground for value in present} | {0: int(rng.integers(low, high + 1))}
    try:
        clusters = cluster_labels(intensities, labels.data, counts, int(rng.integers(2**31)))
    except LabelMapError as error:
        raise error.with_source(pair.labels) from error
    first = np.zeros(max(known) + 1, dtype=np.uint8)
    first[known] = _first_rows(_rows_of_each(structures, options))
    indices = first[labels.data] + clusters
    prepared, affine = prepared_grid(_with_depth(indices, labels.grid.spacing), labels.affine)
    return PreparedBrain(name, prepared, affine, np.eye(4), 0.0), {"background": counts[0]}


def _with_depth(indices: NDArray[np.uint8], spacing: Sequence[float]) -> NDArray[np.uint8]:
    """Return labels (i, j, k), those of a single slice repeated across it to a slab of `_SLAB_MM`."""
    for axis, (count, step) in enumerate(zip(indices.shape, spacing, strict=True)):
        if count == 1:
            indices = np.repeat(indices, math.ceil(_SLAB_MM / step), axis=axis)
    return indices


def _rows_of_each(structures: Sequence[Structure], options: ClusterOptions) -> list[int]:
    """Return the number of rows of the label table for the background and each structure."""
    return [options.background[1], *(options.foreground for _ in structures[1:])]


def _first_rows(counts: Sequence[int]) -> NDArray[np.int_]:
    """Return the row of the label table that the first cluster of each structure has, (structures,)."""
    return np.cumsum([0, *counts[:-1]])

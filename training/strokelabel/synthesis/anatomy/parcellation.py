"""Structures as the target of synthetic images: the one with the largest share of each voxel, on its own side.

The target follows the deformation as closely as the image does. Every voxel asks the eight voxels of the head around
the point it comes from, each with its two structures and their shares: the exact result of deforming one map of shares
per structure (SynthSeg deforms a map of whole labels by nearest neighbours, which moves borders by up to half a voxel).
Where all eight agree, as they do nearly everywhere, nothing has to be added up.

Intensity clusters are merged here: a label counts as the structure that it is a cluster of, so that the target is the
one of the label map before it was split.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from strokelabel.errors import LabelMapError
from strokelabel.labels import LabelTable
from strokelabel.structures import (
    LESION,
    Structure,
    classes_of_labels,
    mirrored_classes,
    parcellation_structures,
)
from strokelabel.synthesis.anatomy.deformation import DeformationParameters
from strokelabel.synthesis.anatomy.head import Head

_BACKGROUND = 0
_ROWS = 2**18
"""Voxels at borders whose shares are added up at once; bounds the memory."""


class ParcellationTarget:
    """Labels synthetic images with the structures of a parcellation.

    Args:
        table: label table that the heads' indices point into.
        heads: every head that will be asked about.
        lesion_class: whether lesions are the last class; else the structure beneath them is the target.
        structures: of other organs, the background first; SynthSeg's if empty.

    Attributes:
        structures: the classes, in order.

    Raises:
        LabelMapError: a head has labels that belong to no structure.
    """

    def __init__(
        self,
        table: LabelTable,
        heads: Sequence[Head],
        *,
        lesion_class: bool = False,
        structures: tuple[Structure, ...] = (),
    ) -> None:
        self.structures = structures or parcellation_structures(lesion=lesion_class)
        classes = classes_of_labels(table, self.structures)
        _check_labels(table, classes, heads)
        self._lesion = self.structures.index(LESION) if lesion_class else None
        self._classes = torch.tensor([_BACKGROUND if c is None else c for c in classes], dtype=torch.uint8)
        self._mirrored = torch.tensor(mirrored_classes(self.structures), dtype=torch.uint8)

    def label(
        self,
        deformations: Sequence[DeformationParameters],
        head: Head,
        coordinates: Tensor,
        lesion: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Return the class of each voxel.

        A head that is shown as its mirror image gets its sides changed over, so that "left" is the patient's left
        in every image: the side on which the left hand of a person with this face would be.

        Args:
            deformations: one per batch item.
            head: a batch of heads, from `stack_heads`.
            coordinates: (batch, x, y, z, 3) where in the head each voxel lies, mm; see `head_coordinates`.
            lesion: (batch, x, y, z), above one half inside lesions.
            mask: (batch, x, y, z), 0 where nothing is left of the image.

        Returns:
            (batch, x, y, z) uint8, an index into `structures`.
        """
        classes, mirrored = self._classes.to(lesion.device), self._mirrored.to(lesion.device)
        items = []
        for item, deformation in enumerate(deformations):
            found = largest_share(
                classes[head.first[item].int()],
                classes[head.second[item].int()],
                head.fraction[item],
                coordinates[item] @ head.matrix[item].T + head.offset[item],
                len(self.structures),
            )
            items.append(mirrored[found.int()] if shows_mirror_image(deformation) else found)
        target = torch.stack(items)
        if self._lesion is not None:
            target.masked_fill_(lesion > 0.5, self._lesion)
        return target.masked_fill_(mask == 0, _BACKGROUND)


def shows_mirror_image(deformation: DeformationParameters) -> bool:
    """Return whether an image shows a head as a mirror does: after an odd number of flips. Two flips are a rotation."""
    return sum(deformation.flip) % 2 == 1


def _check_labels(table: LabelTable, classes: Sequence[int | None], heads: Sequence[Head]) -> None:
    """Refuse heads with labels that are no part of any structure.

    Raises:
        LabelMapError: naming them.
    """
    homeless = {index for index, structure in enumerate(classes) if structure is None}
    present = {
        int(i) for head in heads for names in (head.first, head.second) for i in names.flatten().unique()
    }
    if found := sorted(homeless & present):
        labels = [table.labels[i] for i in found]
        names = ", ".join(f"{table.parent(label)} ({label.name})" for label in labels)
        raise LabelMapError(
            f"target: expected label maps whose labels belong to structures with a side, found {names}; "
            "relabel them as the structure of their side, or train on the target tissues"
        )


def largest_share(first: Tensor, second: Tensor, fraction: Tensor, index: Tensor, classes: int) -> Tensor:
    """Return the class with the largest share at fractional positions, shares interpolated linearly between voxels.

    Args:
        first: (x, y, z) uint8 class of each voxel's largest structure.
        second: (x, y, z) uint8 class of the next.
        fraction: (x, y, z) uint8 share of `first`, of 255; the rest is `second`.
        index: (X, Y, Z, 3) fractional voxel indices; class 0 lies outside the volume.
        classes: number of classes.

    Returns:
        (X, Y, Z) uint8.
    """
    padded = [F.pad(volume, (1,) * 6) for volume in (first, second, fraction)]
    cells = torch.tensor(first.shape, device=index.device)
    position = torch.minimum((index.reshape(-1, 3) + 1).clamp_min(0), cells + 1.0)
    cell = torch.minimum(position.long(), cells)
    _, ny, nz = padded[0].shape
    corner = (cell[:, 0] * ny + cell[:, 1]) * nz + cell[:, 2]
    result = padded[0].flatten()[corner]
    at_border = _disagreement(padded[0], padded[1]).flatten()[corner].nonzero().squeeze(1)
    shares = [volume.flatten() for volume in padded]
    for rows in at_border.split(_ROWS):
        within = position[rows] - cell[rows]
        result[rows] = _vote(shares, corner[rows], within, (ny, nz), classes)
    return result.view(index.shape[:-1])


def _disagreement(first: Tensor, second: Tensor) -> Tensor:
    """Return whether the eight voxels of the cell that starts at each voxel hold more than one class. (x,
    y, z) bool.
    """
    inner = tuple(slice(None, -1) for _ in range(3))
    reference = first[inner]
    mixed = torch.zeros_like(first, dtype=torch.bool)
    for steps in product((0, 1), repeat=3):
        moved = tuple(slice(1, None) if step else slice(None, -1) for step in steps)
        mixed[inner] |= (first[moved] != reference) | (second[moved] != reference)
    return mixed


def _vote(
    volumes: Sequence[Tensor], corner: Tensor, within: Tensor, strides: tuple[int, int], classes: int
) -> Tensor:
    """Return the class with the largest interpolated share in each of some cells.

    Args:
        volumes: first, second and fraction, flattened.
        corner: (n,) flat index of each cell's first voxel.
        within: (n, 3) position inside the cell, in [0, 1].
        strides: (ny, nz) of the volumes.
        classes: number of classes.

    Returns:
        (n,) uint8.
    """
    first, second, fraction = volumes
    ny, nz = strides
    votes = torch.zeros(len(corner), classes, device=corner.device)
    for dx, dy, dz in product((0, 1), repeat=3):
        step = torch.tensor((dx, dy, dz), device=corner.device)
        weight = torch.where(step.bool(), within, 1 - within).prod(dim=1)
        voxel = corner + (dx * ny + dy) * nz + dz
        share = weight * fraction[voxel] / 255
        votes.scatter_add_(1, first[voxel, None].long(), share[:, None])
        votes.scatter_add_(1, second[voxel, None].long(), (weight - share)[:, None])
    return votes.argmax(dim=1).to(torch.uint8)

"""Label maps made ready for synthesis: two labels and a mixing fraction per voxel, and soft tissue maps.

A voxel that holds several structures keeps its two largest and the fraction of the first. That carries partial
volume at any voxel size in three bytes, where one-hot stacks need one channel per structure.
"""

from __future__ import annotations

import logging
import math
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, fields, replace
from multiprocessing import current_process, get_context
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy import ndimage
from torch import Tensor

from strokelabel.errors import OutputError
from strokelabel.io.atomic import atomic_path
from strokelabel.labels import LabelTable
from strokelabel.synthesis.contrast.gaussian_mixture import look_up
from strokelabel.synthesis.fields import apply_along_axes, averaging_matrix
from strokelabel.synthesis.prepared.dataset import PreparedBrain, PreparedData
from strokelabel.synthesis.sampling import pad_stack

_CLOSING_MM = 3.0
"""Narrow sulci count as brain: masks drawn by people, and skull-stripping tools, include them."""


@dataclass(frozen=True)
class Head:
    """One head at the working resolution. All volumes are (x, y, z) uint8 on one grid; fractions are of 255.

    Attributes:
        first: index (into the label table) of the structure that fills most of the voxel.
        second: index of the next largest structure.
        fraction: share of `first` in the voxel's first two structures.
        tissues: (4, x, y, z) gray matter, gray/white partial volume, white matter, CSF.
        brain: what a skull-stripping tool would leave: parenchyma closed over sulci and ventricles.
        lesion_allowed: where a lesion may lie: the brain without its ventricles.
        matrix: (3, 3) from RAS mm to voxel index.
        offset: (3,) voxel index of the origin.
        center_mm: (3,) centroid of the brain.
        to_icbm: (4, 4) RAS mm to ICBM RAS mm.
    """

    first: Tensor
    second: Tensor
    fraction: Tensor
    tissues: Tensor
    brain: Tensor
    lesion_allowed: Tensor
    matrix: Tensor
    offset: Tensor
    center_mm: Tensor
    to_icbm: Tensor

    def to(self, device: torch.device | str) -> Self:
        """Move the head to another device."""
        return type(self)(*(getattr(self, f.name).to(device) for f in fields(self)))

    def voxels(self, values: Tensor, air: Tensor) -> Tensor:
        """Return the composition of each voxel of a batch of heads, relative to air.

        Args:
            values: (batch, labels, features) of each label.
            air: (batch, 1, features).

        Returns:
            (batch, features, x, y, z).
        """
        return look_up(values - air, self.first, self.second, self.fraction)


def make_head(brain: PreparedBrain, table: LabelTable, spacing_mm: float) -> Head:
    """Bring a prepared label map to the working resolution.

    Args:
        brain: label indices, canonical RAS.
        table: the label table that the indices point into.
        spacing_mm: working voxel size; at least that of the label map.

    Returns:
        The head, on the CPU.
    """
    labels = torch.from_numpy(np.ascontiguousarray(brain.labels))
    source_mm = np.linalg.norm(brain.affine[:3, :3], axis=0)
    shape = tuple(max(2, round(n * mm / spacing_mm)) for n, mm in zip(labels.shape, source_mm, strict=True))
    working = (shape[0], shape[1], shape[2])
    if table.has_clusters:
        first, second, fraction, groups = _two_largest_clusters(labels, table, working)
    else:
        first, second, fraction, groups = _two_largest(labels, table, working)
    tissues = _tissue_maps(groups)
    matrix, offset = _index_from_world(brain.affine, tuple(labels.shape), shape)
    parenchyma = groups["gray"] + groups["white"] + groups[_STRUCTURE]
    closed = _close(parenchyma, max(1, round(_CLOSING_MM / spacing_mm)))
    closed = torch.maximum(closed, groups["ventricle"]).clamp(0, 1)
    return Head(
        first=first,
        second=second,
        fraction=fraction,
        tissues=_as_bytes(tissues),
        brain=_as_bytes(closed),
        lesion_allowed=_as_bytes(torch.minimum(closed, 1 - groups["ventricle"])),
        matrix=matrix,
        offset=offset,
        center_mm=_centroid_mm(parenchyma, matrix, offset),
        to_icbm=torch.from_numpy(np.asarray(brain.to_icbm, dtype=np.float32)),
    )


_Box = tuple[slice, slice, slice]

_STRUCTURE = "structure"
"""Group of all labels that are intensity clusters, which are of no tissue group."""


def _two_largest(
    labels: Tensor, table: LabelTable, shape: tuple[int, int, int]
) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """Return the two largest structures of each voxel, the first one's share, and the fractions of the
    tissue groups.
    """
    size = torch.zeros(2, *shape)
    name = torch.zeros(2, *shape, dtype=torch.uint8)
    groups = {group: torch.zeros(shape) for group in ("gray", "white", "ventricle", "csf", _STRUCTURE)}
    average = [_averaging(n, m) for n, m in zip(labels.shape, shape, strict=True)]
    for index, box in enumerate(ndimage.find_objects(labels.numpy() + 1)):
        if box is None:
            continue
        region, part = _occupancy(labels[box] == index, box, average)
        group = table.labels[index].group
        if table.has_clusters:
            group = _STRUCTURE if table.parent(table.labels[index]) else "background"
        if group in groups:
            groups[group][region] += part
        _insert(size[(slice(None), *region)], name[(slice(None), *region)], part, index)
    share = size[0] / size.sum(dim=0).clamp_min(1e-6)
    return name[0], name[1], _as_bytes(share), groups


def _two_largest_clusters(
    labels: Tensor, table: LabelTable, shape: tuple[int, int, int]
) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """Return what `_two_largest` does, for labels that are clusters of structures.

    The two are clusters of the two largest structures of a voxel, with the share of the first structure, so that
    structures are exactly those of a label map without clusters. Within one structure, they are its two largest
    clusters.
    """
    parents = [table.parent(label) for label in table.labels]
    leaders = torch.tensor([parents.index(parent) for parent in parents], dtype=torch.uint8)
    first, second, fraction, groups = _two_largest(leaders[labels.int()], table, shape)
    mixed, largest, next_largest = fraction < 255, first.clone(), second.clone()
    average = [_averaging(n, m) for n, m in zip(labels.shape, shape, strict=True)]
    boxes = ndimage.find_objects(labels.numpy() + 1, max_label=len(parents))
    for leader in sorted(set(leaders.tolist())):
        size = torch.zeros(2, *shape)
        name = torch.full((2, *shape), leader, dtype=torch.uint8)
        for index, box in enumerate(boxes):
            if box is not None and leaders[index] == leader:
                region, part = _occupancy(labels[box] == index, box, average)
                _insert(size[(slice(None), *region)], name[(slice(None), *region)], part, index)
        mine = largest == leader
        first[mine] = name[0][mine]
        pure = mine & ~mixed
        second[pure] = name[1][pure]
        fraction[pure] = _as_bytes(size[0] / size.sum(dim=0).clamp_min(1e-6))[pure]
        other = (next_largest == leader) & mixed
        second[other] = name[0][other]
    return first, second, fraction, groups


def _insert(size: Tensor, name: Tensor, part: Tensor, index: int) -> None:
    """Put a structure among the two largest of each voxel, in place. (2, x, y, z), largest first."""
    first = part > size[0]
    second = (part > size[1]) & ~first
    for slot, value in ((size, part), (name, torch.full_like(name[0], index))):
        slot[1] = torch.where(first, slot[0], torch.where(second, value, slot[1]))
        slot[0] = torch.where(first, value, slot[0])


def _averaging(source: int, target: int) -> Tensor:
    """Return the weight of each source voxel in each working voxel along one axis.

    Where nothing is averaged by resampling, the staircase of labels is softened by half a voxel instead.
    """
    if source != target:
        return averaging_matrix(source, target)
    neighbours = torch.eye(source).roll(1, 0) + torch.eye(source).roll(-1, 0)
    neighbours[0, -1] = neighbours[-1, 0] = 0
    weights = torch.eye(source) / 2 + neighbours / 4
    return weights / weights.sum(dim=1, keepdim=True)


def _occupancy(mask: Tensor, box: _Box, average: list[Tensor]) -> tuple[_Box, Tensor]:
    """Return the fraction of each working voxel that a structure fills, in [0, 1], in the region that it touches.

    Args:
        mask: the structure inside its bounding box.
        box: that box, in source voxels.
        average: one matrix per axis, see `_averaging`.
    """
    region, matrices = [], []
    for along, matrix in zip(box, average, strict=True):
        touched = matrix[:, along].any(dim=1).nonzero()
        rows = slice(int(touched[0]), int(touched[-1]) + 1)
        region.append(rows)
        matrices.append(matrix[rows, along][None])
    x, y, z = region
    return (x, y, z), apply_along_axes(mask[None, None].float(), matrices)[0, 0]


def _tissue_maps(groups: dict[str, Tensor]) -> Tensor:
    """Return soft gray matter, partial volume, white matter and CSF: (4, x, y, z), summing to at most one.

    Where gray and white share a voxel, twice the smaller share is partial volume: all of it at half and half.
    """
    overlap = torch.minimum(groups["gray"], groups["white"])
    csf = groups["csf"] + groups["ventricle"]
    return torch.stack([groups["gray"] - overlap, 2 * overlap, groups["white"] - overlap, csf])


def _close(volume: Tensor, radius: int) -> Tensor:
    """Return the grey closing by a box of this radius in voxels, (x, y, z)."""
    side = 2 * radius + 1
    grown = F.max_pool3d(volume[None, None], side, 1, radius)
    return -F.max_pool3d(-grown, side, 1, radius)[0, 0]


def _index_from_world(
    affine: np.ndarray, source: tuple[int, ...], target: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Return the matrix and offset from RAS mm to the index of the resampled grid (voxel centres kept in place)."""
    inverse = np.linalg.inv(affine)
    scale = np.array(target) / np.array(source)
    matrix = inverse[:3, :3] * scale[:, None]
    offset = (inverse[:3, 3] + 0.5) * scale - 0.5
    return torch.from_numpy(matrix.astype(np.float32)), torch.from_numpy(offset.astype(np.float32))


def _centroid_mm(weights: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """Return the centre of mass in RAS mm."""
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in weights.shape), indexing="ij")
    index = torch.stack([(axis * weights).sum() / weights.sum().clamp_min(1e-6) for axis in axes])
    return torch.linalg.solve(matrix, index - offset)


def _as_bytes(fractions: Tensor) -> Tensor:
    """Convert [0, 1] to 0..255."""
    return (fractions.clamp(0, 1) * 255).round().to(torch.uint8)


_STEP = 4
"""Every so many voxels along each axis, `crop_to_view` looks at what an image shows."""
_SMOOTH = 1.25
"""Factor by which, beyond the longest step, voxels may lie apart in between: deformations are smooth."""


def crop_to_view(heads: Head, coordinates: Tensor) -> Head:
    """Return the part of a batch of heads that an image shows: a field of view of the brain omits much of head and
    neck.

    On a GPU, the whole heads: working on all of them is faster than waiting for the answer.

    Args:
        heads: from `stack_heads`.
        coordinates: (batch, x, y, z, 3) position in mm of each voxel of the image; smooth.
    """
    if coordinates.is_cuda:
        return heads
    points = coordinates[:, ::_STEP, ::_STEP, ::_STEP]
    index = points @ heads.matrix.transpose(1, 2)[:, None, None] + heads.offset[:, None, None, None]
    # Voxels between those that are looked at lie no further away than a step along each axis, and a little more.
    steps = [index.diff(dim=axis).abs().amax(dim=(0, 1, 2, 3)) for axis in (1, 2, 3) if index.shape[axis] > 1]
    slack = 1 + _SMOOTH * torch.stack(steps or [index.new_full((3,), float(_STEP))]).sum(dim=0)
    low, high = index.amin(dim=(0, 1, 2, 3)) - slack, index.amax(dim=(0, 1, 2, 3)) + slack
    box = tuple(
        slice(min(max(0, math.floor(a)), n - 2), max(2, min(n, math.ceil(b) + 1)))
        for a, b, n in zip(low.tolist(), high.tolist(), heads.first.shape[1:], strict=True)
    )
    start = torch.tensor([float(part.start) for part in box])
    volumes = {
        field.name: getattr(heads, field.name)[(..., *box)]
        for field in fields(heads)
        if getattr(heads, field.name).dim() >= heads.first.dim()
    }
    return replace(heads, **volumes, offset=heads.offset - start)


def stack_heads(heads: list[Head]) -> Head:
    """Stack heads of unequal extent as one batch: volumes zero-padded at the end of each axis, which moves no voxel."""
    kind = type(heads[0])
    return kind(*(pad_stack([getattr(head, f.name) for head in heads]) for f in fields(kind)))


_FOLDER = "heads"
"""Name another one when `make_head` changes: a cache knows its data by their digest, but not the code."""

_FINE_MM = 1.5
_WORTH_PROCESSES = 4
"""Starting processes takes seconds; few heads, or coarse ones, are made sooner without."""

_LOG = logging.getLogger(__name__)


def load_heads(data: PreparedData, names: list[str], spacing_mm: float) -> list[Head]:
    """Load the named heads at this voxel size, from the cache if possible.

    Args:
        data: a prepared folder.
        names: which brains.
        spacing_mm: working voxel size.
    """
    missing = [name for name in names if not _path(data, name, spacing_mm).exists()]
    alone = current_process().daemon  # and may start no others
    if len(missing) >= _WORTH_PROCESSES and spacing_mm <= _FINE_MM and not alone:
        _make_in_processes(data, missing, spacing_mm)
    return [_load_head(data, name, spacing_mm) for name in names]


def _path(data: PreparedData, name: str, spacing_mm: float) -> Path:
    return Path(data.folder) / _FOLDER / f"{data.digest[:12]}_{name}_{spacing_mm:g}mm.safetensors"


def _make_in_processes(data: PreparedData, names: list[str], spacing_mm: float) -> None:
    """Fill the cache with several processes: a head at 1 mm takes ten seconds of one core."""
    workers = min(len(names), os.cpu_count() or 1)
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        made = [pool.submit(_make_head, data.folder, name, spacing_mm) for name in names]
        for count, future in enumerate(as_completed(made), start=1):
            future.result()
            _LOG.info("head %d of %d at %g mm is ready", count, len(names), spacing_mm)


def _make_head(folder: Path, name: str, spacing_mm: float) -> None:
    """Compute one head into the cache, in a process of its own; arrays are not sent between processes."""
    _load_head(PreparedData.load(folder), name, spacing_mm)


def _load_head(data: PreparedData, name: str, spacing_mm: float) -> Head:
    """Return one head; computed and stored if the cache has none, or a damaged one, or one of other data."""
    path = _path(data, name, spacing_mm)
    try:
        tensors = load_file(path)
        return Head(*(tensors[f.name] for f in fields(Head)))
    except (OSError, KeyError, SafetensorError):
        head = make_head(data.brain(name), data.table, spacing_mm)
    try:
        with atomic_path(path) as temporary:
            save_file({f.name: getattr(head, f.name).contiguous() for f in fields(Head)}, temporary)
    except (OutputError, SafetensorError) as error:
        _LOG.warning("%s; continuing without it, heads are computed again the next time", error)
    return head

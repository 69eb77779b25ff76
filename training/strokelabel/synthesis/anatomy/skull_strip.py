"""Simulated skull-stripping: everything but the brain set to zero, with the flaws that tools leave."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from strokelabel.geometry.crop import dilate_box, dilate_cross
from strokelabel.labels import LabelTable
from strokelabel.structures import CSF_ID, EXTRACEREBRAL_IDS
from strokelabel.synthesis.anatomy.head import Head
from strokelabel.synthesis.config import SkullStripConfig
from strokelabel.synthesis.sampling import Sampler, on_device


@dataclass(frozen=True)
class SkullStripParameters:
    """One draw.

    Attributes:
        strip: whether a mask is laid over the image.
        dilation_mm: by how much the mask is too large.
        erosion_mm: by how much it is too small then.
        remove_labels: whether the image is made without the labels around the brain instead.
        keep_csf: whether the fluid around the brain stays nevertheless.
    """

    strip: bool
    dilation_mm: float
    erosion_mm: float
    remove_labels: bool = False
    keep_csf: bool = False


def sample_skull_strip(sampler: Sampler, config: SkullStripConfig) -> SkullStripParameters:
    """Draw whether and how badly the skull is stripped."""
    strip = sampler.flip(config.probability)
    dilate, erode = sampler.flip(config.dilation_probability), sampler.flip(config.erosion_probability)
    dilation, erosion = sampler.uniform(config.dilation_mm), sampler.uniform(config.erosion_mm)
    dilation, erosion = dilation if dilate else 0.0, erosion if erode else 0.0
    if config.method == "mask":
        return SkullStripParameters(strip, dilation, erosion)
    keep_csf = sampler.flip(config.keep_csf_probability)
    return SkullStripParameters(False, dilation, erosion, remove_labels=strip, keep_csf=keep_csf)


def without_extracerebral(head: Head, parameters: list[SkullStripParameters], table: LabelTable) -> Head:
    """Replace everything around the brain by air in the heads for which a draw decides so.

    Only the labels change. Tissue maps and brain mask stay as they are, so this suits targets that are made from
    labels (Billot et al. 2023, supplements 3 and 4).

    Args:
        head: a batch of heads, from `stack_heads`.
        parameters: one draw per item.
        table: the labels.
    """
    if not any(p.remove_labels for p in parameters):
        return head
    kept = on_device(torch.stack([_kept_labels(p, table) for p in parameters]), head.first.device)
    first, second = (
        torch.stack([rows[volume.int()] for rows, volume in zip(kept, volumes, strict=True)])
        for volumes in (head.first, head.second)
    )
    return replace(head, first=first, second=second)


def _kept_labels(parameters: SkullStripParameters, table: LabelTable) -> Tensor:
    """Return for each label of the table the index that replaces it: its own, or air. (labels,) uint8."""
    removed = EXTRACEREBRAL_IDS if parameters.remove_labels else frozenset()
    removed -= {CSF_ID} if parameters.keep_csf else frozenset()
    if parameters.remove_labels and table.has_clusters:
        removed |= {0}  # the clusters of the background
    air = table.index(0)
    indices = [air if table.parent(label) in removed else index for index, label in enumerate(table.labels)]
    return torch.tensor(indices, dtype=torch.uint8)


def brain_masks(parameters: list[SkullStripParameters], brain: Tensor, spacing_mm: float) -> Tensor:
    """Return the part of each image that is left: 1 inside the (flawed) brain mask, 1 everywhere if the skull stays on.

    Args:
        parameters: one draw per item.
        brain: (batch, 1, x, y, z) fraction of brain, sulci and ventricles closed.
        spacing_mm: voxel size.

    Returns:
        (batch, 1, x, y, z) of 0 and 1, float32.
    """
    masks = [
        _brain_mask(item, p, spacing_mm) if p.strip else torch.ones_like(item)
        for p, item in zip(parameters, brain, strict=True)
    ]
    return torch.stack(masks)


def _brain_mask(brain: Tensor, parameters: SkullStripParameters, spacing_mm: float) -> Tensor:
    """Return the brain mask, grown and then shrunk by the drawn flaws. (1, x, y, z)."""
    mask = _grow(brain > 0.5, parameters.dilation_mm / spacing_mm)
    return (~_grow(~mask, parameters.erosion_mm / spacing_mm)).to(brain.dtype)


def _grow(mask: Tensor, radius: float) -> Tensor:
    """Dilate a bool mask by about this radius in voxels, rounded to whole steps."""
    for step in range(round(radius)):
        # Crosses and boxes in turn approximate a ball.
        mask = dilate_cross(mask) if step % 2 else dilate_box(mask)
    return mask

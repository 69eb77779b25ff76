"""Lesions: real masks, softened by Soft-CP and thinned out by a penumbra, brought onto the image grid.

Soft-CP is Dai et al. 2022 as used by SynthStroke (Chalcroft et al. 2025, section 3.1). The label is what is visible: a
lesion is where its softened mask exceeds one half, wherever it has been moved, zoomed and resampled to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from strokelabel.geometry.crop import dilate_cross
from strokelabel.synthesis.anatomy.deformation import sample_volume
from strokelabel.synthesis.config import LesionConfig
from strokelabel.synthesis.fields import apply_along_axes, gaussian_matrix
from strokelabel.synthesis.lesions.bank import Fragment, LesionBank, fragment_mask, fragment_start
from strokelabel.synthesis.lesions.stage import Penumbra, fade, sample_penumbra
from strokelabel.synthesis.sampling import Sampler, on_device, pad_stack

COMPONENTS = ("lesion", "rim", "cavity", "haemorrhage", "oedema", "hyperintensity")
"""Components that are laid over the tissue, in this order; each has a weight map, and a mean and deviation per feature
of the contrast. Plain lesions have the first one alone. The last two are not labelled lesion.
"""

OWN_COMPONENTS = 4
"""So many of the first components lie inside a lesion, and differ between the lesions of a head."""

_MARGIN_VOXELS = 6
"""Room around a mask for dilation and blur."""

Region = tuple[slice, slice, slice]
"""A box of the image grid."""


@dataclass(frozen=True)
class LesionDraw:
    """One mask of the bank and how its edge is softened. Radii and sigma in voxels of the bank (1 mm)."""

    index: int
    mirror: bool
    erosion_voxels: int
    dilation_voxels: int
    blur_sigma_voxels: float
    penumbra: Penumbra


@dataclass(frozen=True)
class LesionParameters:
    """Lesions of one head. Their order, masks first, is that of the means of `ContrastParameters`.

    Attributes:
        draws: the masks; may be empty.
        shift_mm: moves all of them, in ICBM space.
        zoom: scales them about their common centre.
        fragments: small lesions moved to other places; may be empty.
    """

    draws: tuple[LesionDraw, ...]
    shift_mm: tuple[float, float, float]
    zoom: float
    fragments: tuple[Fragment, ...] = ()

    @property
    def count(self) -> int:
        """Number of lesions."""
        return len(self.draws) + len(self.fragments)

    @property
    def fades(self) -> bool:
        """True if any of the lesions has a penumbra."""
        penumbras = [lesion.penumbra for lesion in self.draws] + [
            lesion.penumbra for lesion in self.fragments
        ]
        return any(penumbra.floor < 1 for penumbra in penumbras)


@dataclass(frozen=True)
class PlacedLesions:
    """Lesions of a batch on the image grid.

    Attributes:
        soft: (batch, 1, x, y, z) softened masks in [0, 1], not thinned out by penumbras; lesion is above one half.
        weight: (batch, 1, *region) how much of each voxel is painted: the same, thinned out.
        owner: (batch, *region) int64, which of its head's lesions a voxel belongs to; None if no head has two.
        region: the box of the grid outside of which there is no lesion.
    """

    soft: Tensor
    weight: Tensor
    owner: Tensor | None
    region: Region

    def within(self, allowed: Tensor) -> PlacedLesions:
        """Return the lesions cut off outside a (batch, 1, x, y, z) mask."""
        allowed = allowed[(..., *self.region)]
        self.soft[(..., *self.region)] *= allowed
        return replace(self, weight=self.weight * allowed)


def sample_lesions(sampler: Sampler, config: LesionConfig, bank_size: int) -> LesionParameters:
    """Draw the lesions of one head.

    Args:
        sampler: source of randomness.
        config: ranges.
        bank_size: how many masks there are to choose from.
    """
    counts = list(config.count_weights)
    count = counts[sampler.choice([config.count_weights[c] for c in counts])] if bank_size else 0
    return LesionParameters(
        draws=tuple(_sample_draw(sampler, config, bank_size) for _ in range(count)),
        shift_mm=(
            sampler.uniform(config.shift_mm),
            sampler.uniform(config.shift_mm),
            sampler.uniform(config.shift_mm),
        ),
        zoom=sampler.uniform(config.zoom),
    )


def _sample_draw(sampler: Sampler, config: LesionConfig, bank_size: int) -> LesionDraw:
    """Sample one mask, its edge and its penumbra."""
    return LesionDraw(
        index=sampler.integer(0, bank_size - 1),
        mirror=sampler.flip(config.mirror_probability),
        erosion_voxels=sampler.integer(*config.erosion_voxels),
        dilation_voxels=sampler.integer(*config.dilation_voxels),
        blur_sigma_voxels=sampler.uniform(config.blur_sigma_voxels),
        penumbra=sample_penumbra(sampler, config),
    )


def soften(mask: Tensor, erosion: int, dilation: int, sigma: float) -> Tensor:
    """Erode, dilate and blur a mask (Soft-CP).

    Args:
        mask: (x, y, z) bool, with room at its borders for dilation and blur.
        erosion: radius in voxels; skipped where it would erase the lesion.
        dilation: radius in voxels.
        sigma: standard deviation of the blur in voxels.

    Returns:
        (x, y, z) float32 in [0, 1]. The largest value is one, so that a small lesion does not vanish by being blurred.
    """
    if erosion:
        eroded = ~_dilate(~mask, erosion)
        mask = torch.where(eroded.any(), eroded, mask)
    volume = _dilate(mask, dilation)[None, None].float()
    matrices = [gaussian_matrix(n, 2.3548 * sigma, mask.device)[None] for n in mask.shape]
    soft = apply_along_axes(volume, matrices)[0, 0]
    return (soft / soft.amax().clamp_min(1e-6)).clamp(0, 1)


def _dilate(mask: Tensor, radius: int) -> Tensor:
    """Return the dilation of a bool mask (x, y, z) by a ball of the city-block metric; radius 0 changes nothing."""
    for _ in range(radius):
        mask = dilate_cross(mask)
    return mask


@dataclass(frozen=True)
class _Patch:
    """Softened lesions in a box of the ICBM grid.

    Attributes:
        values: (2, x, y, z) soft mask, and the same thinned out by the penumbra.
        owner: (1, x, y, z) index of the lesion with the largest soft mask.
        start: first voxel of the box.
    """

    values: Tensor
    owner: Tensor
    start: tuple[int, int, int]


def _patch(soft: Tensor, penumbra: Penumbra, start: tuple[int, int, int]) -> _Patch:
    """Return one lesion with its penumbra."""
    return _Patch(torch.stack([soft, fade(soft, penumbra)]), torch.zeros_like(soft)[None], start)


def _soft_patch(draw: LesionDraw, bank: LesionBank, device: torch.device) -> _Patch:
    """Return one lesion with its edge softened."""
    mask = F.pad(on_device(torch.from_numpy(bank.crop(draw.index)), device), (_MARGIN_VOXELS,) * 6)
    x, y, z = (offset - _MARGIN_VOXELS for offset in bank.offset(draw.index))
    if draw.mirror:
        mask, x = mask.flip(0), _mirrored_start(bank, x, mask.shape[0])
    soft = soften(mask, draw.erosion_voxels, draw.dilation_voxels, draw.blur_sigma_voxels)
    return _patch(soft, draw.penumbra, (x, y, z))


def _fragment_patch(fragment: Fragment, bank: LesionBank, device: torch.device) -> _Patch:
    """Return one small lesion with its edge softened, at its new position. Too small to be eroded."""
    mask = F.pad(on_device(fragment_mask(fragment, bank), device), (_MARGIN_VOXELS,) * 6)
    soft = soften(mask, 0, 0, fragment.blur_sigma_voxels)
    return _patch(soft, fragment.penumbra, fragment_start(fragment, bank, mask.shape))


def _patches(parameters: LesionParameters, bank: LesionBank, device: torch.device) -> list[_Patch]:
    """Return all lesions of one head."""
    return [_soft_patch(d, bank, device) for d in parameters.draws] + [
        _fragment_patch(f, bank, device) for f in parameters.fragments
    ]


def _mirrored_start(bank: LesionBank, start: int, size: int) -> int:
    """Return the first x index of a crop after reflection in the plane x = 0 mm."""
    midline = -bank.affine[0, 3] / bank.affine[0, 0]
    return round(2 * midline) - (start + size - 1)


def _join(patches: list[_Patch], device: torch.device) -> _Patch:
    """Join patches into one; where lesions overlap, that with the larger soft mask counts. Without lesions, empty
    voxels.
    """
    if not patches:
        return _Patch(
            torch.zeros(2, 2, 2, 2, device=device), torch.zeros(1, 2, 2, 2, device=device), (0, 0, 0)
        )
    if len(patches) == 1:
        return patches[0]
    x, y, z = (min(p.start[axis] for p in patches) for axis in range(3))
    ends = [max(p.start[axis] + p.values.shape[axis + 1] for p in patches) for axis in range(3)]
    sides = [end - begin for begin, end in zip((x, y, z), ends, strict=True)]
    joined, owner = torch.zeros(2, *sides, device=device), torch.zeros(1, *sides, device=device)
    for number, patch in enumerate(patches):
        box = tuple(
            slice(begin - first, begin - first + n)
            for begin, first, n in zip(patch.start, (x, y, z), patch.values.shape[1:], strict=True)
        )
        within = (slice(None), *box)
        stronger = patch.values[:1] > joined[within][:1]
        joined[within] = torch.where(stronger, patch.values, joined[within])
        owner[within].masked_fill_(stronger, number)
    return _Patch(joined, owner, (x, y, z))


def place_lesions(
    parameters: list[LesionParameters], bank: LesionBank, coordinates_mm: Tensor, to_icbm: Tensor
) -> PlacedLesions:
    """Bring each head's lesions from ICBM space onto its image grid.

    Args:
        parameters: one draw per batch item.
        bank: lesion masks on the ICBM grid.
        coordinates_mm: (batch, x, y, z, 3) position of each voxel in the head's own space.
        to_icbm: (batch, 4, 4) from the head's mm to ICBM mm.
    """
    device = coordinates_mm.device
    patches = [_join(_patches(p, bank, device), device) for p in parameters]
    values = pad_stack([patch.values for patch in patches])
    if not any(p.fades for p in parameters):
        values = values[:, :1]
    index = on_device(torch.linalg.inv(torch.as_tensor(bank.affine, dtype=torch.float32)), device)
    moves = [_patch_from_grid(p, patch) for p, patch in zip(parameters, patches, strict=True)]
    total = on_device(torch.stack(moves), device) @ index @ to_icbm
    matrix, offset = total[:, :3, :3], total[:, :3, 3]
    region = None
    if any(p.count for p in parameters):
        region = _image_region(values.shape[2:], coordinates_mm, matrix, offset)
    region = region or (slice(0, 1), slice(0, 1), slice(0, 1))
    within = coordinates_mm[(slice(None), *region)]
    sampled = sample_volume(values, within, matrix, offset)
    owner = None
    if any(p.count > 1 for p in parameters):
        owners = pad_stack([patch.owner for patch in patches])
        owner = sample_volume(owners, within, matrix, offset, mode="nearest")[:, 0].long()
    soft = coordinates_mm.new_zeros((len(parameters), 1, *coordinates_mm.shape[1:4]))
    soft[(..., *region)] = sampled[:, :1]
    return PlacedLesions(soft, sampled[:, -1:], owner, region)


def _patch_from_grid(parameters: LesionParameters, patch: _Patch) -> Tensor:
    """Return the map (4, 4) from ICBM grid index to patch index, with lesions zoomed about the patch's centre and
    shifted.
    """
    center = torch.tensor([n / 2 for n in patch.values.shape[1:]])
    start = torch.tensor(patch.start, dtype=torch.float32)
    shift = torch.tensor(parameters.shift_mm)
    matrix = torch.eye(4)
    matrix[:3, :3] /= parameters.zoom
    matrix[:3, 3] = center - (start + center + shift) / parameters.zoom
    return matrix


def _image_region(
    patch_shape: torch.Size, coordinates_mm: Tensor, matrix: Tensor, offset: Tensor
) -> Region | None:
    """Return the box of the image grid that the patches of the batch can reach: most of a head holds no lesion.

    On a GPU, the whole grid: interpolating all of it is faster than waiting for the answer.
    """
    if coordinates_mm.is_cuda:
        return slice(None), slice(None), slice(None)
    index = (
        coordinates_mm[:, ::2, ::2, ::2] @ matrix.transpose(1, 2)[:, None, None] + offset[:, None, None, None]
    )
    sizes = torch.tensor(patch_shape, device=index.device)
    slack = 2 * matrix.abs().sum(dim=(1, 2)).max()  # every second voxel is looked at
    occupied = ((index > -1 - slack) & (index < sizes + slack)).all(dim=4).any(dim=0)
    if not bool(occupied.any()):
        return None
    x, y, z = (_span(occupied, axis) for axis in range(3))
    return x, y, z


def _span(occupied: Tensor, axis: int) -> slice:
    """Return the range from the first to the last occupied plane along an axis, in voxels of the full grid."""
    planes = occupied.movedim(axis, 0).flatten(1).any(dim=1).nonzero()
    return slice(2 * int(planes[0]), 2 * int(planes[-1]) + 2)

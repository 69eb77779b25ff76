"""Quantitative maps of a label map: every label gets the values of its tissue."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strokelabel.labels import LabelTable
from strokelabel.physics.distributions import RandomSource
from strokelabel.physics.maps import QuantitativeMaps
from strokelabel.physics.priors import TissueDraw, TissuePriors, Values

_NO_SPREAD: Values = (0.0, 0.0, 0.0, 0.0, 0.0)


def draw_tissues(
    tissues: set[str], priors: TissuePriors, source: RandomSource | None = None
) -> dict[str, TissueDraw]:
    """Draw one subject's tissues from the priors; without a source of randomness, use their means."""
    if source is None:
        return {tissue: TissueDraw(priors.means(tissue), _NO_SPREAD) for tissue in sorted(tissues)}
    return {tissue: priors.draw(source, tissue) for tissue in sorted(tissues)}


def label_tissues(ids: NDArray[np.integer], table: LabelTable, priors: TissuePriors) -> dict[int, str]:
    """Return the tissue of each label that occurs.

    Raises:
        LabelMapError: a label is not in the table.
    """
    present = {int(value) for value in np.unique(ids)}
    table.check(present, "label map")
    return {label_id: priors.tissue_of(table[label_id]) for label_id in present}


def maps_from_labels(
    ids: NDArray[np.integer],
    tissues: dict[int, str],
    drawn: dict[str, TissueDraw],
    generator: torch.Generator | None = None,
) -> QuantitativeMaps:
    """Give every voxel the values of its tissue.

    Args:
        ids: label map (i, j, k).
        tissues: tissue of each label, see `label_tissues`.
        drawn: values of each tissue, see `draw_tissues`.
        generator: source of the spread within tissues, drawn per voxel; None for none.

    Returns:
        Maps of shape (i, j, k), float32.
    """
    present, positions = np.unique(ids, return_inverse=True)
    index = torch.from_numpy(positions.reshape(ids.shape).astype(np.int64))
    draws = [drawn[tissues[int(label_id)]] for label_id in present]
    means = torch.tensor([d.means for d in draws])[index]
    if generator is None:
        return QuantitativeMaps.unstack(means, dim=-1)
    spread = torch.tensor([d.deviations for d in draws])[index]
    noise = torch.randn(means.shape, generator=generator)
    return _physical(means + spread * noise)


def insert_tissue(maps: QuantitativeMaps, mask: Tensor, tissue: TissueDraw) -> QuantitativeMaps:
    """Replace the values where a mask is 1, blending where it is in between.

    Args:
        maps: of shape (i, j, k).
        mask: (i, j, k) in [0, 1].
        tissue: the values to put there, a lesion's, say.
    """
    values = torch.tensor(tissue.means, dtype=maps.pd.dtype).view(-1, *(1 for _ in mask.shape))
    return QuantitativeMaps.unstack(torch.lerp(maps.stack(), values, mask.to(maps.pd.dtype)[None]))


def _physical(values: Tensor) -> QuantitativeMaps:
    """Clip to physical values: none negative, and R2* at least R2."""
    maps = QuantitativeMaps.unstack(values.clamp_min(0), dim=-1)
    return QuantitativeMaps(maps.pd, maps.r1, maps.r2, torch.maximum(maps.r2_star, maps.r2), maps.mt)
